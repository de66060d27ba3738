// SPDX-License-Identifier: Apache-2.0

package cycle

import (
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// cluster is a Cluster of a test.
type cluster struct {
	*Cluster
	t *testing.T
}

func newCluster(t *testing.T, configuration string, size int) *cluster {
	t.Helper()
	return newClusterOf(t, configuration, size, map[string]string{"full-pcpus-only": "true"})
}

// newClusterOf is newCluster with other options of the CPU manager.
func newClusterOf(t *testing.T, configuration string, size int, options map[string]string) *cluster {
	t.Helper()
	ctx := klog.NewContext(t.Context(), logr.Discard())
	c, err := NewCluster(ctx, configuration, options)
	if err != nil {
		t.Fatal(err)
	}
	for i := range size {
		err := c.Join(ctx, fmt.Sprint("n", i))
		if err != nil {
			t.Fatal(err)
		}
	}
	return &cluster{Cluster: c, t: t}
}

// taint gives a node a taint of effect PreferNoSchedule.
func (c *cluster) taint(name string) {
	node := c.objects[name].DeepCopy()
	node.Spec.Taints = []corev1.Taint{{Key: "maintenance", Effect: corev1.TaintEffectPreferNoSchedule}}
	c.ChangeNode(c.t.Context(), c.objects[name], node)
	c.objects[name] = node
}

// place schedules a VM and lets the kubelet admit it. It returns the node.
func (c *cluster) place(pod *corev1.Pod) string {
	c.t.Helper()
	bound, _, err := c.Place(c.t.Context(), pod)
	if err != nil || bound == nil {
		c.t.Fatalf("pod %s has no node, error %v", pod.Name, err)
	}
	return bound.Spec.NodeName
}

// vm is the launcher pod of a dedicated VM of an application.
func vm(name string, cpus int, wishes ...func(*corev1.Pod)) *corev1.Pod {
	requirements := func(cpu string) corev1.ResourceRequirements {
		amounts := corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("1Gi")}
		return corev1.ResourceRequirements{Requests: amounts, Limits: amounts}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "vms", UID: types.UID(name), Labels: map[string]string{"kubevirt.io": "virt-launcher", "app": "db"}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"cpumanager": "true"},
			Containers: []corev1.Container{
				{Name: "compute", Resources: requirements(fmt.Sprint(cpus))},
				{Name: "guest-console-log", Resources: requirements("15m")},
			},
		},
		Status: corev1.PodStatus{QOSClass: corev1.PodQOSGuaranteed},
	}
	for _, wish := range wishes {
		wish(pod)
	}
	return pod
}

var ofApp = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}

// preferApart prefers hosts without another VM of the application.
func preferApart(pod *corev1.Pod) {
	pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: ofApp},
		}},
	}}
}

// softSpread spreads the application's VMs over hosts where possible.
func softSpread(pod *corev1.Pod) {
	pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: ofApp,
	}}
}

// Pairs and triples of VMs that prefer hosts of their own get them, as with the stock scheduler.
func TestPreferencesOfUsersCount(t *testing.T) {
	shipped, err := ShippedConfig()
	if err != nil {
		t.Fatal(err)
	}
	mostAllocated, err := ShippedConfig("scoringStrategy: LeastFragmentation", "scoringStrategy: MostAllocated")
	if err != nil {
		t.Fatal(err)
	}
	configurations := map[string]string{"LeastFragmentation": shipped, "MostAllocated": mostAllocated, "stock": StockConfig}
	for name, wishes := range map[string][]func(*corev1.Pod){
		"preferred anti-affinity": {preferApart}, "soft spread": {softSpread}, "both": {preferApart, softSpread},
	} {
		t.Run(name, func(t *testing.T) {
			used := map[string]int{}
			cases := 0
			for size := 2; size <= 10; size++ {
				for cpus := 2; cpus <= 16; cpus++ {
					for _, vms := range []int{2, 3} {
						cases++
						for who, configuration := range configurations {
							if who == "MostAllocated" && (cpus%2 != 0 || size%2 != 0) {
								continue // it is like the other in this, and each case costs a scheduler
							}
							got := hosts(t, configuration, size, vms, cpus, wishes)
							used[who] += got
							if want := min(size, vms); got != want {
								t.Errorf("%s: %d VMs of %d CPUs are on %d of %d nodes; want %d", who, vms, cpus, got, size, want)
							}
						}
					}
				}
			}
			t.Logf("hosts used in %d cases: %v", cases, used)
		})
	}
}

// hosts places VMs of one size on empty nodes, and returns how many hosts have some. VMs of odd size need nodes that split cores.
func hosts(t *testing.T, configuration string, size, vms, cpus int, wishes []func(*corev1.Pod)) int {
	t.Helper()
	options := map[string]string{"full-pcpus-only": "true"}
	if cpus%2 != 0 {
		options = nil
	}
	c := newClusterOf(t, configuration, size, options)
	used := map[string]bool{}
	for i := range vms {
		used[c.place(vm(fmt.Sprint("db-", i), cpus, wishes...))] = true
	}
	return len(used)
}

// VMs without wishes share a host where the strategy says so, although stock plugins spread them.
func TestTheStrategyCountsWithoutPreferences(t *testing.T) {
	shipped, err := ShippedConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, cpus := range []int{2, 8, 10, 12, 14} {
		if got, stock := hosts(t, shipped, 4, 2, cpus, nil), hosts(t, StockConfig, 4, 2, cpus, nil); got != 1 || stock != 2 {
			t.Errorf("2 VMs of %d CPUs are on %d hosts, with stock on %d; want 1 and 2", cpus, got, stock)
		}
	}
}

// A node that the preferred node affinity of a VM names wins too, and so does one without a PreferNoSchedule taint.
func TestOtherPreferencesCount(t *testing.T) {
	shipped, err := ShippedConfig()
	if err != nil {
		t.Fatal(err)
	}
	preferred := func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: corev1.NodeSelectorTerm{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}},
			}}},
		}}
	}
	onFirst := func(pod *corev1.Pod) { pod.Spec.NodeSelector[corev1.LabelHostname] = "n0" }
	for cpus := 2; cpus <= 16; cpus += 2 {
		c := newCluster(t, shipped, 2)
		c.place(vm("db-0", cpus, onFirst))
		if got := c.place(vm("db-1", cpus, preferred)); got != "n1" {
			t.Errorf("a VM of %d CPUs that prefers n1 goes to %s", cpus, got)
		}
		c = newCluster(t, shipped, 2)
		c.place(vm("db-0", cpus, onFirst))
		c.taint("n0")
		if got := c.place(vm("db-1", cpus)); got != "n1" {
			t.Errorf("a VM of %d CPUs goes to %s, which has a PreferNoSchedule taint", cpus, got)
		}
	}
}
