// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// manyCaches is a machine of one socket, 4 NUMA nodes, and two shared caches in each.
func manyCaches() string {
	var places []string
	for cache := range 8 {
		place := fmt.Sprintf("s0 n%d u%d:", cache/2, cache)
		for core := range 8 {
			place += fmt.Sprintf(" %d,%d", 8*cache+core, 64+8*cache+core)
		}
		places = append(places, place)
	}
	return strings.Join(places, "; ")
}

// generator makes clusters as they are in use: machines of several shapes, VMs of several sizes, and some of everything that a
// page shows.
type generator struct {
	t       testing.TB
	random  *rand.Rand
	cluster Cluster
	vms     int
}

// generatedCluster has so many nodes. The same number gives the same cluster.
func generatedCluster(t testing.TB, nodes int) Cluster {
	t.Helper()
	g := &generator{t: t, random: rand.New(rand.NewPCG(1, uint64(nodes)))}
	machines := []string{"2 sockets x 1 numa x 32 cores x 2 threads", "2 sockets x 2 numa x 16 cores x 2 threads", manyCaches(), "1 sockets x 1 numa x 16 cores x 2 threads"}
	for i := range nodes {
		g.node(i, machines[i%len(machines)])
	}
	for i, size := range []string{"16", "16", "16", "64", "64", "200"} {
		g.launcher(fmt.Sprintf("waiting-%d", i), "", size, corev1.PodPending)
	}
	return g.cluster
}

// node adds a node that is more or less full.
func (g *generator) node(i int, machine string) {
	name := fmt.Sprintf("n%d", i)
	topology := cputopology.MustParse(machine)
	granted := map[types.UID]map[string]cpuset.Set{}
	pins := map[types.UID]string{}
	full := g.random.Float64() * 1.15
	for _, numa := range topology.NUMANodes() {
		left := numa.CPUs.Minus(topology.Cores()[0].CPUs)
		for float64(numa.Size-left.Len()) < full*float64(numa.Size) {
			size := []int{2, 4, 4, 8, 8, 16}[g.random.IntN(6)]
			cpus := take(topology, left, size)
			if cpus.Len() < size {
				break
			}
			left = left.Minus(cpus)
			pod := g.launcher(fmt.Sprintf("%s-%d", []string{"db", "web", "cache", "build", "desk"}[g.random.IntN(5)], g.vms), name, fmt.Sprint(size), corev1.PodRunning)
			granted[pod.UID] = map[string]cpuset.Set{"compute": cpus}
			for vcpu, id := range cpus.List() {
				pins[pod.UID] += fmt.Sprintf("%d=%d ", vcpu, id)
			}
			pins[pod.UID] = strings.TrimSpace(pins[pod.UID])
		}
	}
	report := reportOf(g.t, name, machine, []string{"single-numa-node", "restricted", "best-effort"}[i%3], granted)
	for k := range report.Status.Granted {
		report.Status.Granted[k].Pins = pins[report.Status.Granted[k].PodUID]
	}
	node := nodeOffering(fmt.Sprint(topology.CPUs().Len()-2), "900Gi", "250")
	node.Name = name
	node.Labels = map[string]string{"cpumanager": "true", "kubevirt.io/cpumanager": "true", corev1.LabelHostname: name}
	g.trouble(i, &report, &node)
	g.cluster.Reports = append(g.cluster.Reports, report)
	g.cluster.Nodes = append(g.cluster.Nodes, node)
}

// trouble gives some nodes conditions, huge pages, devices, or a VM in flight.
func (g *generator) trouble(i int, report *v1alpha1.NodeCPU, node *corev1.Node) {
	set := func(kind string, status metav1.ConditionStatus, message string) {
		report.Status.Conditions = append(report.Status.Conditions,
			metav1.Condition{Type: kind, Status: status, Message: message, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))})
	}
	devices := v1alpha1.DeviceResource{Name: "intel.com/vf"}
	for k := range report.Status.NUMANodes {
		report.Status.NUMANodes[k].HugePages = []v1alpha1.HugePages{{Type: "hugepages-1Gi", Pages: 64, Free: int64(64 - g.random.IntN(60))}}
		devices.Groups = append(devices.Groups, v1alpha1.DeviceGroup{NUMANodes: fmt.Sprint(k), Devices: 16, Healthy: 16, Free: int32(16 - g.random.IntN(12))})
	}
	report.Status.Devices = []v1alpha1.DeviceResource{devices}
	set(v1alpha1.ConditionDevicesKnown, metav1.ConditionTrue, "")
	switch i % 23 {
	case 3:
		set(v1alpha1.ConditionExact, metav1.ConditionFalse, "kubelet v1.39.0 is not known; corepin predicts 1.34 to 1.38")
	case 7:
		set(v1alpha1.ConditionSeen, metav1.ConditionFalse, "")
	case 11:
		node.Labels = nil
	case 13:
		set(v1alpha1.ConditionDrifted, metav1.ConditionTrue, fmt.Sprintf("VM team-1/db-%d: vCPU 0: 3 → 17", i))
	case 17:
		set(v1alpha1.ConditionExclusive, metav1.ConditionFalse, "2 containers of the shared pool may run on the CPUs of a VM")
	case 19:
		g.launcher(fmt.Sprintf("flying-%d", i), report.Name, "2", corev1.PodPending)
	case 20:
		node.Spec.Unschedulable = true
	}
	if i%23 != 3 {
		set(v1alpha1.ConditionExact, metav1.ConditionTrue, "")
	}
}

// launcher adds the launcher pod of a VM.
func (g *generator) launcher(vm, node, cpus string, phase corev1.PodPhase) corev1.Pod {
	g.vms++
	pod := launcherOf(vm, cpus)
	pod.UID = types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", g.vms))
	pod.Namespace = fmt.Sprintf("team-%d", g.vms%40)
	pod.CreationTimestamp = metav1.NewTime(noon.Add(-time.Hour))
	pod.Spec.SchedulerName = "corepin"
	pod.Spec.NodeName = node
	pod.Spec.Containers[0].Name = "compute"
	pod.Status.Phase = phase
	g.cluster.Pods = append(g.cluster.Pods, pod)
	return pod
}

// take is whole cores of a set, as many as it has for so many CPUs.
func take(topology *cputopology.Topology, from cpuset.Set, size int) cpuset.Set {
	var taken cpuset.Set
	for _, core := range topology.Cores() {
		if taken.Len() < size && core.CPUs.SubsetOf(from) {
			taken = taken.Union(core.CPUs)
		}
	}
	return taken
}
