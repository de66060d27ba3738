// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// renderedPod is one line of the index: how virt-controller rendered the pod of a VMI.
type renderedPod struct {
	Name, Outcome, QOSClass string
	Containers              []struct {
		Name      string
		Resources corev1.ResourceRequirements
	}
	NodeSelector map[string]string
}

func TestLauncherPods(t *testing.T) {
	y := newTally(t, nil)
	for _, record := range lines[renderedPod](t, filepath.Join("launcher-pods", "index.jsonl")) {
		if record.Outcome != "pod" {
			t.Logf("%s: no pod was made (%s)", record.Name, record.Outcome)
			continue
		}
		group := strings.SplitN(record.Name, "-", 2)[0]
		y.count(group, record.Name, comparePod(t, record))
	}
	y.report()
}

// comparePod tells how our reading of a recorded pod differs from what the API server and the index say
// about it.
func comparePod(t *testing.T, record renderedPod) string {
	t.Helper()
	pod := readYAML[corev1.Pod](t, record.Name+".pod.yaml")
	l, ok := launcher.Of(&pod)
	if !ok {
		return "not taken for a launcher pod"
	}
	if l.Dedicated != (record.NodeSelector["kubevirt.io/cpumanager"] == "true") || l.Dedicated != readVMI(t, record.Name+".vmi.yaml").Dedicated() {
		return fmt.Sprintf("dedicated = %v", l.Dedicated)
	}
	computed := pod.DeepCopy()
	computed.Status.QOSClass = "" // as the plugin sees a pod before the API server has judged it
	guaranteed := record.QOSClass == string(corev1.PodQOSGuaranteed)
	if got := admission.PodOf(computed).Guaranteed; got != guaranteed {
		return fmt.Sprintf("Guaranteed = %v, and KubeVirt's pod is %s", got, record.QOSClass)
	}
	want := 0
	if cpu := record.Containers[0].Resources.Requests.Cpu(); guaranteed && cpu.Value()*1000 == cpu.MilliValue() {
		want = int(cpu.Value())
	}
	if l.Compute != record.Containers[0].Name || l.CPUs != want {
		return fmt.Sprintf("container %s asks for %d exclusive CPUs; want %s and %d", l.Compute, l.CPUs, record.Containers[0].Name, want)
	}
	if problems := launcher.Problems(&pod); l.Dedicated && (len(problems) == 0) != (want > 0) {
		return fmt.Sprintf("%d exclusive CPUs, and problems %q", want, problems)
	}
	if needs := launcher.NeedsOf(&pod); needs.Milli < int64(1000*want) || want > 0 && needs.ExclusiveCPUs < want {
		return fmt.Sprintf("%d exclusive CPUs, and the node is to be charged %+v", want, needs)
	}
	return compareGuest(t, record, &l)
}

// compareGuest tells how the CPUs that we think the guest needs differ from those that its pod asks for.
func compareGuest(t *testing.T, record renderedPod, l *launcher.Launcher) string {
	t.Helper()
	v := readVMI(t, record.Name+".mutated-vmi.yaml")
	if l.CPUs == 0 || !v.Dedicated() {
		return ""
	}
	guest, err := placement.GuestOf(v)
	if err != nil {
		return err.Error()
	}
	unused := 0 // CPUs that the pod asks for, and no thread of the guest will use
	for _, finding := range vmi.Check(v, vmi.Strict) {
		switch finding.Rule {
		case "iothreads-pool-unused":
			unused = int(*v.Spec.Domain.IOThreads.SupplementalPoolThreadCount)
		case "parity-pool-odd":
			unused = 1
		case "parity-pool-clash":
			unused = -1 // one too few: the VM never starts
		}
	}
	if guest.CPUs()+unused != l.CPUs {
		return fmt.Sprintf("the guest needs %d CPUs, %d are unused, and the pod asks for %d", guest.CPUs(), unused, l.CPUs)
	}
	return ""
}

// TestDefaults holds VMI.Default against what KubeVirt's mutating webhook made of the same VMI.
func TestDefaults(t *testing.T) {
	y := newTally(t, nil)
	for _, record := range lines[renderedPod](t, filepath.Join("launcher-pods", "index.jsonl")) {
		ours, theirs := readVMI(t, record.Name+".vmi.yaml"), readVMI(t, record.Name+".mutated-vmi.yaml")
		ours.Default()
		y.count("defaults", record.Name, compareDefaults(ours, theirs))
	}
	y.report()
}

func compareDefaults(ours, theirs *vmi.VMI) string {
	got, want := ours.Spec.Domain, theirs.Spec.Domain
	if g, w := got.CPU, want.CPU; g.Sockets != w.Sockets || g.Cores != w.Cores || g.Threads != w.Threads || g.MaxSockets != w.MaxSockets {
		return fmt.Sprintf("topology %+v; KubeVirt's %+v", g, w)
	}
	for _, amount := range []struct {
		name      string
		got, want *vmi.Quantity
	}{
		{"memory.guest", got.Memory.Guest, want.Memory.Guest},
		{"requests.cpu", got.Resources.Requests.CPU, want.Resources.Requests.CPU},
		{"limits.cpu", got.Resources.Limits.CPU, want.Resources.Limits.CPU},
		{"requests.memory", got.Resources.Requests.Memory, want.Resources.Requests.Memory},
		{"limits.memory", got.Resources.Limits.Memory, want.Resources.Limits.Memory},
	} {
		if (amount.got == nil) != (amount.want == nil) || amount.got != nil && amount.got.Cmp(amount.want.Quantity) != 0 {
			return fmt.Sprintf("%s = %v; KubeVirt's %v", amount.name, amount.got, amount.want)
		}
	}
	return ""
}

func readYAML[T any](t *testing.T, name string) T {
	t.Helper()
	var object T
	data, err := os.ReadFile(testdata(t, filepath.Join("launcher-pods", name)))
	if err == nil {
		err = yaml.Unmarshal(data, &object)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return object
}

func readVMI(t *testing.T, name string) *vmi.VMI {
	t.Helper()
	data, err := os.ReadFile(testdata(t, filepath.Join("launcher-pods", name)))
	if err != nil {
		t.Fatal(err)
	}
	v, err := vmi.Decode(data)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}
