// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/cputopology"
)

const twoSockets = "2 sockets x 1 numa x 4 cores x 2 threads" // NUMA node 0: 0-3,8-11; 1: 4-7,12-15

// pinned is what a node for dedicated VMs is set to. Reserved: 0,8, one whole core of NUMA node 0.
var pinned = KubeletSettings{
	CPUManagerPolicy:        "static",
	CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"},
	TopologyManagerPolicy:   "single-numa-node",
	ReservedSystemCPUs:      "0,8",
}

// host is a machine in a temporary directory on which kubelets live one after the other.
type host struct {
	options KubeletOptions
}

func newHost(t *testing.T, machine string, settings KubeletSettings) *host {
	t.Helper()
	dir := t.TempDir()
	topology := cputopology.MustParse(machine)
	if err := writeSysfs(filepath.Join(dir, "sys"), topology, 8<<30, nil); err != nil {
		t.Fatal(err)
	}
	info, err := machineInfo(filepath.Join(dir, "sys"))
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(topology.CPUs().Len()-2), resource.DecimalSI),
		corev1.ResourceMemory: resource.MustParse("8Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}}}
	return &host{KubeletOptions{
		RootDir: dir, Machine: info, Settings: settings,
		Node: func(context.Context, bool) (*corev1.Node, error) { return node, nil },
	}}
}

func (h *host) kubelet(t *testing.T) *Kubelet {
	t.Helper()
	kubelet, err := NewKubelet(t.Context(), h.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kubelet.Stop)
	return kubelet
}

// checkpoint is cpu_manager_state in one line: the shared pool, then pod/container=CPUs.
func (h *host) checkpoint(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.options.RootDir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		PolicyName, DefaultCPUSet string
		Entries                   map[string]map[string]string
		Checksum                  uint64
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("the checkpoint %q: %v", text, err)
	}
	if file.Checksum == 0 {
		t.Errorf("the checkpoint %q has no checksum", text)
	}
	return fmt.Sprintf("%s %s %v", file.PolicyName, file.DefaultCPUSet, file.Entries)
}

// demand is a container's CPU; its memory is the same amount of gigabytes, rounded up.
func pod(name string, age time.Duration, demands ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "vms", UID: types.UID(name),
			CreationTimestamp: metav1.NewTime(time.Unix(1_000_000, 0).Add(-age)),
		},
		Status: corev1.PodStatus{QOSClass: corev1.PodQOSGuaranteed},
	}
	for i, demand := range demands {
		resources := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(demand), corev1.ResourceMemory: resource.MustParse("64Mi")}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", i), Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources},
		})
	}
	return pod
}

func mustAdmit(t *testing.T, kubelet *Kubelet, pods ...*corev1.Pod) {
	t.Helper()
	for _, rejection := range kubelet.Admit(pods...) {
		t.Errorf("pod %s was refused: %s: %s", rejection.Pod.Name, rejection.Reason, rejection.Message)
	}
}

func (h *host) mustHold(t *testing.T, want string) {
	t.Helper()
	if got := h.checkpoint(t); got != want {
		t.Errorf("the checkpoint says\n%s, want\n%s", got, want)
	}
}

func TestAdmitWritesTheCheckpoint(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	kubelet := host.kubelet(t)
	host.mustHold(t, "static 0-15 map[]")
	mustAdmit(t, kubelet, pod("a", 0, "4", "200m"))
	host.mustHold(t, "static 0,3-8,11-15 map[a:map[c0:1-2,9-10]]")
	mustAdmit(t, kubelet, pod("b", 0, "8"))
	host.mustHold(t, "static 0,3,8,11 map[a:map[c0:1-2,9-10] b:map[c0:4-7,12-15]]")

	if got := kubelet.State().GetDefaultCPUSet().String(); got != "0,3,8,11" {
		t.Errorf("the state's shared pool is %s, the checkpoint's 0,3,8,11", got)
	}
	if got, _ := kubelet.State().GetCPUSet("a", "c0"); got.String() != "1-2,9-10" {
		t.Errorf("the state grants %s to a, the checkpoint 1-2,9-10", got)
	}
}

func TestRejections(t *testing.T) {
	loose := pinned
	loose.CPUManagerPolicyOptions, loose.TopologyManagerPolicy = nil, "none"
	for name, tc := range map[string]struct {
		settings        KubeletSettings
		running, pod    *corev1.Pod
		reason, message string
	}{
		"more than a NUMA node": {pinned, nil, pod("a", 0, "10"), "TopologyAffinityError", "Resources cannot be allocated with Topology locality"},
		"half a core":           {pinned, nil, pod("a", 0, "3"), "SMTAlignmentError", "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2"},
		"nothing left": {loose, pod("a", time.Hour, "12"), pod("b", 0, "4"), "UnexpectedAdmissionError",
			"Allocate failed due to not enough cpus available to satisfy request: requested=4, available=2, which is unexpected"},
		"requests of other pods": {loose, pod("a", time.Hour, "12", "1500m"), pod("b", 0, "600m"), "OutOfcpu",
			"Node didn't have enough resource: cpu, requested: 600, used: 13500, capacity: 14000"},
	} {
		t.Run(name, func(t *testing.T) {
			kubelet := newHost(t, twoSockets, tc.settings).kubelet(t)
			if tc.running != nil {
				mustAdmit(t, kubelet, tc.running)
			}
			got := kubelet.Admit(tc.pod)
			if len(got) != 1 || got[0].Reason != tc.reason || got[0].Message != tc.message {
				t.Errorf("%+v\nwant %s: %s", got, tc.reason, tc.message)
			}
		})
	}
}

func TestRejectedPodHoldsNothing(t *testing.T) {
	settings := pinned
	settings.TopologyManagerPolicy = "best-effort"
	host := newHost(t, twoSockets, settings)
	kubelet := host.kubelet(t)
	if got := kubelet.Admit(pod("a", 0, "8", "8")); len(got) != 1 {
		t.Fatalf("16 CPUs of 14 were not refused: %+v", got)
	}
	mustAdmit(t, kubelet, pod("b", 0, "14"))
	host.mustHold(t, "static 0,8 map[b:map[c0:1-7,9-15]]")
}

func TestAdmitsInOrderOfCreation(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	kubelet := host.kubelet(t)
	mustAdmit(t, kubelet, pod("young", time.Minute, "8"), pod("old", time.Hour, "6"))
	host.mustHold(t, "static 0,8 map[old:map[c0:1-3,9-11] young:map[c0:4-7,12-15]]")
}

func TestRemoveFreesAtTheNextAdmission(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	kubelet := host.kubelet(t)
	mustAdmit(t, kubelet, pod("a", 0, "8"))
	kubelet.Remove("a")
	host.mustHold(t, "static 0-3,8-11 map[a:map[c0:4-7,12-15]]")
	mustAdmit(t, kubelet, pod("b", 0, "8"))
	host.mustHold(t, "static 0-3,8-11 map[b:map[c0:4-7,12-15]]")
}

func TestRestartKeepsCPUs(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	first := host.kubelet(t)
	a, b := pod("a", time.Hour, "2"), pod("b", time.Minute, "2")
	mustAdmit(t, first, a, b, pod("gone", 0, "2"))
	first.Remove("a")
	mustAdmit(t, first, pod("c", 0, "4")) // so that b's CPUs are not those it would get anew
	before := host.checkpoint(t)
	first.Stop()

	second := host.kubelet(t)
	host.mustHold(t, before)
	mustAdmit(t, second, b, pod("c", 0, "4"))
	host.mustHold(t, before) // "gone" is dropped later, as stale state always is
	mustAdmit(t, second, pod("d", 0, "200m"))
	host.mustHold(t, "static 0-1,3,6-9,11,14-15 map[b:map[c0:2,10] c:map[c0:4-5,12-13]]")
}

// A kubelet that starts gives back the CPUs of pods that are gone only after it has admitted its first list of pods
// (sourcesReady in syncLoopIteration, pkg/kubelet/kubelet.go, v1.36.3). What was bound to those CPUs meanwhile is refused.
func TestRestartRefusesWhatWasBoundToLeftCPUs(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	first := host.kubelet(t)
	mustAdmit(t, first, pod("gone", time.Hour, "8"))
	first.Remove("gone")
	first.Stop()

	second := host.kubelet(t)
	if got := second.Admit(pod("bound", 0, "8")); len(got) != 1 || got[0].Reason != "TopologyAffinityError" {
		t.Errorf("in the first list: %+v", got)
	}
	mustAdmit(t, second, pod("later", 0, "8"))
}

// TestRestartMayKill: kubelet 1.36 checks SMT alignment before it looks whether the pod has its CPUs
// already (kubernetes issue 129078), so on a node more than half full a restart fails running pods. A
// simulated node does the same.
func TestRestartMayKill(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	first := host.kubelet(t)
	mustAdmit(t, first, pod("a", 0, "8"))
	first.Stop()
	got := host.kubelet(t).Admit(pod("a", 0, "8"))
	if len(got) != 1 || got[0].Reason != "SMTAlignmentError" || !strings.Contains(got[0].Message, "available physical CPUs = 6, requested CPUs = 8") {
		t.Errorf("after the restart: %+v", got)
	}
}

func TestStartRefuses(t *testing.T) {
	unaligned := pinned
	unaligned.CPUManagerPolicyOptions = map[string]string{"full-cores": "true"}
	nothingReserved := pinned
	nothingReserved.ReservedSystemCPUs = ""
	badList := pinned
	badList.ReservedSystemCPUs = "0-"
	badAmount := KubeletSettings{SystemReservedCPU: "half"}
	for name, tc := range map[string]struct {
		settings KubeletSettings
		want     string
	}{
		"unknown option":   {unaligned, "full-cores"},
		"no reservation":   {nothingReserved, "greater than zero"},
		"bad CPU list":     {badList, "parsing reservedSystemCPUs"},
		"bad amount":       {badAmount, `"half"`},
		"unknown policy":   {KubeletSettings{CPUManagerPolicy: "dynamic"}, "dynamic"},
		"unknown scope":    {KubeletSettings{TopologyManagerPolicy: "restricted", TopologyManagerScope: "node"}, "node"},
		"option of static": {KubeletSettings{CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"}}, "none policy"},
	} {
		_, err := NewKubelet(t.Context(), newHost(t, twoSockets, tc.settings).options)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v; want an error with %q", name, err, tc.want)
		}
	}
}

func TestAnotherPolicyNeedsAnEmptyState(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	first := host.kubelet(t)
	mustAdmit(t, first, pod("a", 0, "2"))
	first.Stop()
	host.options.Settings = KubeletSettings{}
	if _, err := NewKubelet(t.Context(), host.options); err == nil {
		t.Fatal("a kubelet with policy none started over the state of policy static")
	}
	if err := forgetAssignments(host.options.RootDir); err != nil {
		t.Fatal(err)
	}
	mustAdmit(t, host.kubelet(t), pod("a", 0, "2"))
	host.mustHold(t, "none  map[]")
}

func TestStoppedKubeletWritesNothing(t *testing.T) {
	host := newHost(t, twoSockets, pinned)
	first := host.kubelet(t)
	mustAdmit(t, first, pod("a", 0, "2"))
	first.Stop()
	first.Remove("a")
	before := host.checkpoint(t)
	ended := make(chan struct{})
	go func() { // what the CPU manager's reconciliation would do at its next turn
		defer close(ended)
		first.cpus.GetTopologyHints(pod("b", 0, "2"), &corev1.Container{})
		t.Error("the stopped kubelet's goroutine went on")
	}()
	<-ended
	host.mustHold(t, before)
}
