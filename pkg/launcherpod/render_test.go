// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	qos "k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"sigs.k8s.io/yaml"
)

// known are the recordings that differ, with the difference and its reason. One that is not found
// any more fails the test, so that the list stays true.
var known = map[string]string{
	"ded-support-container-resources":    "the cluster's KubeVirt CR sets supportContainerResources; the stand-in has no CR",
	"shared-support-container-resources": "the cluster's KubeVirt CR sets supportContainerResources; the stand-in has no CR",
	"ded-no-serial-console-log":          "the cluster's KubeVirt CR sets disableSerialConsoleLog; the stand-in has no CR",
	"noiv-ded-kernelboot":                "the cluster's KubeVirt CR turns ImageVolume off; the stand-in has the default, on",
}

// TestRecordedPods compares Render with pods that KubeVirt made, in the folder that
// COREPIN_KUBEVIRT_TESTDATA names: once from the VMI as the user wrote it, once as KubeVirt stored it.
func TestRecordedPods(t *testing.T) {
	dir := os.Getenv("COREPIN_KUBEVIRT_TESTDATA")
	if dir == "" {
		dir = "../../../shared/testdata/kubevirt"
	}
	files, err := filepath.Glob(filepath.Join(dir, "launcher-pods", "*.pod.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no recorded pods in %s: set COREPIN_KUBEVIRT_TESTDATA to the folder that has them", dir)
	}
	for _, file := range files {
		base := strings.TrimSuffix(file, ".pod.yaml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			var recorded corev1.Pod
			load(t, file, &recorded)
			var written, stored unstructured.Unstructured
			load(t, base+".vmi.yaml", &written.Object)
			load(t, base+".mutated-vmi.yaml", &stored.Object)
			asWritten(t, &written, &stored)

			reason, differs := known[filepath.Base(base)]
			for name, object := range map[string]*unstructured.Unstructured{"written": &written, "stored": &stored} {
				pod, err := Render(object)
				if err != nil {
					t.Fatalf("%s VMI: %v", name, err)
				}
				differences := compare(pod, &recorded)
				switch {
				case differs && len(differences) == 0:
					t.Errorf("%s VMI: nothing differs; take it off the list (%s)", name, reason)
				case differs:
					t.Logf("%s VMI: known to differ: %s:\n%s", name, reason, strings.Join(differences, "\n"))
				case len(differences) > 0:
					t.Errorf("%s VMI:\n%s", name, strings.Join(differences, "\n"))
				}
			}
		})
	}
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("reading %s: %v", file, err)
	}
}

// asWritten copies into the VMI as written what the recording cluster added and Render cannot know: the
// UID, the architecture, and the parity annotation, which KubeVirt copies from its CR.
func asWritten(t *testing.T, written, stored *unstructured.Unstructured) {
	t.Helper()
	written.SetUID(stored.GetUID())
	for _, path := range [][]string{{"spec", "architecture"}, {"metadata", "annotations"}} {
		value, found, err := unstructured.NestedFieldCopy(stored.Object, path...)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			continue
		}
		if err := unstructured.SetNestedField(written.Object, value, path...); err != nil {
			t.Fatal(err)
		}
	}
}

// compare lists what differs in what scheduler, kubelet and agent look at.
func compare(got, want *corev1.Pod) []string {
	var differences []string
	note := func(what string, got, want any) {
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			differences = append(differences, fmt.Sprintf("%s: got %s, KubeVirt made %s", what, g, w))
		}
	}
	defaultRequests(got)
	note("QoS class", qos.GetPodQOS(got), want.Status.QOSClass)
	note("node selector", got.Spec.NodeSelector, want.Spec.NodeSelector)
	note("affinity", encoded(got.Spec.Affinity), encoded(want.Spec.Affinity))
	note("security of compute", encoded(got.Spec.Containers[0].SecurityContext), encoded(want.Spec.Containers[0].SecurityContext))
	note("labels", got.Labels, want.Labels)
	for key, value := range got.Annotations {
		note("annotation "+key, value, want.Annotations[key])
	}
	note("generated name", got.GenerateName, want.GenerateName)
	note("host name", got.Spec.Hostname, want.Spec.Hostname)
	note("owner", got.OwnerReferences[0].String(), want.OwnerReferences[0].String())
	note("scheduler", orDefault(got.Spec.SchedulerName), want.Spec.SchedulerName)
	note("grace period", *got.Spec.TerminationGracePeriodSeconds, *want.Spec.TerminationGracePeriodSeconds)
	note("readiness gates", got.Spec.ReadinessGates, want.Spec.ReadinessGates)
	note("restart policy", got.Spec.RestartPolicy, want.Spec.RestartPolicy)
	note("volumes", volumes(got), volumes(want))
	note("init containers", containers(got.Spec.InitContainers), containers(want.Spec.InitContainers))
	note("containers", containers(got.Spec.Containers), containers(want.Spec.Containers))
	return differences
}

// defaultRequests does what the API server does on create: a request that is not given is the limit.
func defaultRequests(pod *corev1.Pod) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for name, amount := range list[i].Resources.Limits {
				if _, ok := list[i].Resources.Requests[name]; !ok {
					list[i].Resources.Requests[name] = amount
				}
			}
		}
	}
}

func encoded(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func orDefault(scheduler string) string {
	if scheduler == "" {
		return corev1.DefaultSchedulerName
	}
	return scheduler
}

// volumes names the volumes with their kind, in the order of their names.
func volumes(pod *corev1.Pod) []string {
	var all []string
	for _, v := range pod.Spec.Volumes {
		kind := "other"
		switch {
		case v.EmptyDir != nil:
			kind = "emptyDir"
		case v.Image != nil:
			kind = "image"
		case v.PersistentVolumeClaim != nil:
			kind = "claim"
		case v.ConfigMap != nil:
			kind = "configMap"
		}
		all = append(all, v.Name+"="+kind)
	}
	slices.Sort(all)
	return all
}

// containers is a line for each container: name, kind, and amounts in plain numbers.
func containers(list []corev1.Container) []string {
	var all []string
	for _, c := range list {
		kind := ""
		if c.RestartPolicy != nil {
			kind = string(*c.RestartPolicy)
		}
		all = append(all, fmt.Sprintf("%s(%s) limits %s requests %s", c.Name, kind, amounts(c.Resources.Limits), amounts(c.Resources.Requests)))
	}
	return all
}

func amounts(list corev1.ResourceList) map[corev1.ResourceName]string {
	plain := map[corev1.ResourceName]string{}
	for name, amount := range list {
		plain[name] = amount.AsDec().String()
	}
	return plain
}

func TestRenderTellsWhatIsWrong(t *testing.T) {
	for manifest, want := range map[string]string{
		`{apiVersion: kubevirt.io/v2, kind: VirtualMachineInstance, metadata: {name: vm}, spec: {domain: {}}}`:                                                                                                                "kubevirt.io/v2",
		`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm}}`:                                                                                                                                    "spec",
		`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm, annotations: {hooks.kubevirt.io/hookSidecars: "{"}}, spec: {domain: {}}}`:                                                            "hooks.kubevirt.io/hookSidecars",
		`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm}, spec: {domain: {cpu: {sockets: 65535, cores: 65535}}}}`:                                                                             "is the most",
		`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm}, spec: {domain: {cpu: {sockets: 2147483647, cores: 2147483647, threads: 2147483647}, ioThreads: {supplementalPoolThreadCount: 1}}}}`: "is the most",
		`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: vm}, spec: {domain: {}, volumes: disk}}`:                                                                                                 "volumes",
	} {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(manifest), &object.Object); err != nil {
			t.Fatal(err)
		}
		pod, err := Render(&object)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v and pod %v, want an error with %q", manifest, err, pod, want)
		}
	}
}

func TestLabelOf(t *testing.T) {
	long := strings.Repeat("a", 63)
	if got := labelOf(long); got != long {
		t.Errorf("got %q, want the name", got)
	}
	one, other := labelOf(long+"b"), labelOf(long+"c")
	if len(one) != 63 || one == other {
		t.Errorf("got %q and %q, want two different labels of 63 characters", one, other)
	}
}
