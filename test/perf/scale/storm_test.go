// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/launcherpod"
	"corepin.dev/corepin/test/harness/cluster/clustertest"
)

// ways are a pod's containers and what they ask for: two pods alike in it are one kind to the scheduler.
func ways(pod *corev1.Pod) string {
	var b strings.Builder
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		b.WriteString(c.Name + " " + c.Resources.Requests.Cpu().String() + " " + c.Resources.Requests.Memory().String() + "\n")
	}
	return b.String()
}

func TestKindsDiffer(t *testing.T) {
	m := &machines{kinds: 600}
	seen := map[string]int{}
	for i := range m.kinds {
		pod, err := m.pod(i)
		if err != nil {
			t.Fatal(err)
		}
		if len(pod.OwnerReferences) > 0 {
			t.Fatalf("pod %d belongs to a VMI that nobody made", i)
		}
		way := ways(pod)
		if other, twice := seen[way]; twice {
			t.Fatalf("kinds %d and %d are one:\n%s", other, i, way)
		}
		seen[way] = i
	}
}

// The VMs that are to fit no node are those that the kubelet's decision refuses.
func TestUnfitVMsFitNoNode(t *testing.T) {
	m := &machines{kinds: 500, unfit: 10}
	const n = 1000
	refused := 0
	for i := range n {
		pod, err := m.pod(i)
		if err != nil {
			t.Fatal(err)
		}
		pod.Status.QOSClass = corev1.PodQOSGuaranteed
		asks := admission.PodOf(pod)
		admitted := newReportedNode(dedicated).admit("uid", &asks).Verdict == admission.Admitted
		if admitted != m.fits(i) {
			t.Fatalf("VM %d is admitted: %t, and it fits: %t", i, admitted, m.fits(i))
		}
		if !admitted {
			refused++
		}
	}
	if refused != n/10 || m.unfitOf(n) != refused {
		t.Errorf("%d of %d VMs fit no node, and %d are said to; want a tenth", refused, n, m.unfitOf(n))
	}
}

func TestRequestsAreCounted(t *testing.T) {
	log := `{"stage":"ResponseComplete","verb":"create","objectRef":{"resource":"pods","subresource":"binding"},"responseStatus":{"code":201}}
{"stage":"ResponseComplete","verb":"create","objectRef":{"resource":"pods","subresource":"binding"},"responseStatus":{"code":409}}
{"stage":"ResponseStarted","verb":"watch","objectRef":{"resource":"nodes"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"watch","objectRef":{"resource":"nodes"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"create","objectRef":{"resource":"pods","subresource":"binding"},"responseStatus":{"code":201}}
`
	counts, err := requestsIn(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	bound := counts[request{"create", "pods/binding", "2xx"}]
	refused := counts[request{"create", "pods/binding", "4xx"}]
	watches := counts[request{"watch", "nodes", "2xx"}]
	if bound != 2 || refused != 1 || watches != 1 || len(counts) != 3 {
		t.Errorf("got %v", counts)
	}
	if _, err := requestsIn(strings.NewReader("{")); err == nil {
		t.Error("half a line is no error")
	}
}

func TestFates(t *testing.T) {
	f := newFates()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	f.see(pod)
	waiting := pod.DeepCopy()
	waiting.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "no",
	}}
	f.see(waiting)
	if created, bound, told := f.count(); created != 1 || bound != 0 || told != 1 || f.reason() != "no" {
		t.Errorf("one that waits: %d created, %d bound, %d told %q", created, bound, told, f.reason())
	}
	pod.Spec.NodeName = "node"
	f.see(pod)
	if _, bound, told := f.count(); bound != 1 || told != 0 {
		t.Errorf("bound at last: %d bound, %d told", bound, told)
	}
	start := f.bound["a"]
	f.bound["b"] = start.Add(time.Second)
	f.bound["c"] = start.Add(16 * time.Second)
	f.bound["d"] = start.Add(17 * time.Second)
	for after, want := range map[time.Time]time.Time{
		start:                       f.bound["b"],
		start.Add(2 * time.Second):  f.bound["c"],
		start.Add(20 * time.Second): start.Add(20 * time.Second),
	} {
		if first := f.firstBound(after); first != want {
			t.Errorf("the first that is bound after %s is so at %s, want %s", after, first, want)
		}
	}
}

func TestReadInside(t *testing.T) {
	in, err := readInside("# HELP go_goroutines x\ngo_goroutines 250\ngo_memstats_heap_alloc_bytes 2.097152e+06\n" +
		"scheduler_pending_pods{queue=\"active\"} 3\nscheduler_pending_pods{queue=\"backoff\"} 4\n")
	if err != nil || in != (inside{heap: 2, goroutines: 250, pending: 7}) {
		t.Errorf("got %+v, %v", in, err)
	}
	if _, err := readInside("go_goroutines 1\n"); err == nil {
		t.Error("metrics without a heap are no error")
	}
}

func TestEquip(t *testing.T) {
	m := &machines{kinds: 500}
	var node corev1.Node
	if err := yaml.Unmarshal([]byte(nodeTemplate), &node); err != nil {
		t.Fatal(err)
	}
	if err := m.equip(&node); err != nil {
		t.Fatal(err)
	}
	kvm := node.Status.Allocatable[launcherpod.KVMDevice]
	if node.Labels["kubevirt.io/schedulable"] != "true" || kvm.Value() < 100 || node.Status.Allocatable.Cpu().Value() != 126 {
		t.Errorf("got labels %v and %v", node.Labels, node.Status.Allocatable)
	}
}

// A storm of 50 VMs on 20 nodes ends with all of them bound or told.
func TestStorm(t *testing.T) {
	bin := filepath.Dir(clustertest.Binary(t, "corepin-scheduler"))
	clustertest.Binary(t, "clusterd")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o := &options{nodes: []int{20}, bin: bin, out: t.TempDir()}
	o.squall = squall{machines: machines{kinds: 50, unfit: 10}, vms: 50, withVMIs: true, schedulers: "corepin"}
	if err := measureStorm(ctx, o); err != nil {
		t.Fatal(err)
	}
}
