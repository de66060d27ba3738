// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/hostcpu"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

const kubeletHeader = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

func configFrom(t *testing.T, text string) kubelet.Config {
	t.Helper()
	c, err := kubelet.ParseConfig([]byte(kubeletHeader + text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// restarting are the facts of a kubelet that runs with one configuration and will start with another.
func restarting(t *testing.T, running, next string) Facts {
	return Facts{
		KubeletVersion: "v1.36.3",
		Host:           known(cputopology.MustParse("1 sockets x 2 numa x 8 cores x 1 threads")),
		Pods:           []*corev1.Pod{},
		Kubelet: kubelet.State{
			Checkpoint: known(kubelet.Checkpoint{
				Policy: "static", Shared: mustCPUs(t, "0-1,6-15"),
				Granted: map[types.UID]map[string]cpuset.Set{"uid": {"compute": mustCPUs(t, "2-5")}},
			}),
			File: known(configFrom(t, next)), Configz: known(configFrom(t, running)), Allocatable: known(mustCPUs(t, "2-15")),
			Memory:  known(kubelet.Memory{Policy: "None"}),
			Started: noon.Add(-time.Hour), Modified: noon.Add(-time.Minute),
		},
	}
}

func mustCPUs(t *testing.T, text string) cpuset.Set {
	t.Helper()
	cpus, err := cpuset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return cpus
}

func restartOf(f Facts) metav1.Condition {
	s := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	return find(s.Conditions, v1alpha1.ConditionRestartSafe)
}

const staticConfig = "cpuManagerPolicy: static\ntopologyManagerPolicy: single-numa-node\nreservedSystemCPUs: 0-1\n"

// What a kubelet refuses when it starts, in the order in which it looks.
func TestWhatAKubeletDoesNotStartWith(t *testing.T) {
	for name, tc := range map[string]struct{ next, want string }{
		"no reserved CPUs":        {"cpuManagerPolicy: static\nsystemReserved: {memory: 500Mi}\n", "unable to determine reserved CPU resources for static policy"},
		"none of them":            {"cpuManagerPolicy: static\nsystemReserved: {cpu: \"0\"}\n", "systemReserved.cpu + kubeReserved.cpu to be greater than zero"},
		"more than there are":     {"cpuManagerPolicy: static\nsystemReserved: {cpu: \"17\"}\n", "17 CPUs are to be reserved, and the machine has 16"},
		"a cgroup besides":        {staticConfig + "systemReservedCgroup: /system\n", "cannot be used with systemReservedCgroup"},
		"a topology policy":       {strings.Replace(staticConfig, "single-numa-node", "strict", 1), `topology manager policy "strict"`},
		"a topology scope":        {staticConfig + "topologyManagerScope: node\n", `topology manager scope "node"`},
		"a topology option":       {staticConfig + "topologyManagerPolicyOptions: {max-allowable-numa-nodes: \"4\"}\n", "max-allowable-numa-nodes"},
		"an option's value":       {staticConfig + "cpuManagerPolicyOptions: {full-pcpus-only: perhaps}\n", "neither true nor false"},
		"an alpha option":         {staticConfig + "cpuManagerPolicyOptions: {distribute-cpus-across-cores: \"true\"}\n", "needs feature gate CPUManagerPolicyAlphaOptions"},
		"a beta option, gate off": {staticConfig + "cpuManagerPolicyOptions: {distribute-cpus-across-numa: \"true\"}\nfeatureGates: {CPUManagerPolicyBetaOptions: false}\n", "CPUManagerPolicyBetaOptions, which is off"},
		"by socket and NUMA node": {staticConfig + "cpuManagerPolicyOptions: {align-by-socket: \"true\"}\nfeatureGates: {CPUManagerPolicyAlphaOptions: true}\n", "incompatible with CPU manager option align-by-socket"},
		"a memory policy":         {staticConfig + "memoryManagerPolicy: BestEffort\n", `memory manager policy "BestEffort"`},
		"memory, not reserved":    {staticConfig + "memoryManagerPolicy: Static\n", "reservedMemory comes to 0 bytes"},
	} {
		c := restartOf(restarting(t, staticConfig, tc.next))
		if c.Status != metav1.ConditionFalse || c.Reason != ReasonWouldNotStart || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s (%s): %s; want %s with %q", name, c.Status, c.Reason, c.Message, ReasonWouldNotStart, tc.want)
		}
	}
	for name, next := range map[string]string{
		"nothing changed": staticConfig,
		"an alpha option": strings.Replace(staticConfig, "single-numa-node", "restricted", 1) + "cpuManagerPolicyOptions: {align-by-socket: \"true\"}\nfeatureGates: {AllAlpha: true}\n",
		"a beta option":   staticConfig + "cpuManagerPolicyOptions: {distribute-cpus-across-numa: \"true\"}\n",
	} {
		if c := restartOf(restarting(t, staticConfig, next)); c.Status != metav1.ConditionTrue {
			t.Errorf("%s: %s (%s): %s; want True", name, c.Status, c.Reason, c.Message)
		}
	}
}

const (
	withMemory = staticConfig + "memoryManagerPolicy: Static\nsystemReserved: {memory: 924Mi}\nreservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}]\n"
	moreMemory = staticConfig + "memoryManagerPolicy: Static\nsystemReserved: {memory: 1948Mi}\nreservedMemory: [{numaNode: 0, limits: {memory: 2Gi}}]\n"
)

// The memory manager compares its state file with the configuration and the machine, and ends the kubelet where they
// differ.
func TestTheMemoryManagersStart(t *testing.T) {
	const gib = 1 << 30
	resources := func(total, reserved, huge int64) kubelet.NUMAMemory {
		return kubelet.NUMAMemory{Resources: map[string]kubelet.MemoryResource{
			"memory": {Total: total, SystemReserved: reserved}, "hugepages-1Gi": {Total: huge},
		}}
	}
	state := kubelet.Memory{Policy: "Static", NUMANodes: map[int32]kubelet.NUMAMemory{0: resources(190*gib, gib, 16*gib), 1: resources(190*gib, 0, 16*gib)}}
	for id, node := range state.NUMANodes {
		node.Group = []int32{id}
		state.NUMANodes[id] = node
	}
	machine := func(total, huge int64) source.Reading[map[int32]hostcpu.NodeMemory] {
		node := func(total, huge int64) hostcpu.NodeMemory {
			return hostcpu.NodeMemory{Total: total, HugePages: map[string]hostcpu.HugePages{"hugepages-1Gi": {Size: 1, Pages: huge}}}
		}
		return known(map[int32]hostcpu.NodeMemory{0: node(190*gib, 16*gib), 1: node(total, huge)})
	}
	for name, tc := range map[string]struct {
		running, next string
		state         kubelet.Memory
		machine       source.Reading[map[int32]hostcpu.NodeMemory]
		status        metav1.ConditionStatus
		want          string
	}{
		"nothing changed":       {withMemory, withMemory, state, machine(190*gib, 16*gib), metav1.ConditionTrue, ""},
		"the machine unread":    {withMemory, withMemory, state, source.Reading[map[int32]hostcpu.NodeMemory]{}, metav1.ConditionTrue, ""},
		"switched on":           {staticConfig, withMemory, kubelet.Memory{Policy: "None"}, machine(190*gib, 16*gib), metav1.ConditionFalse, "policy will be Static, and memory_manager_state was written with None; drain the node and remove that file"},
		"switched off":          {withMemory, staticConfig, state, machine(190*gib, 16*gib), metav1.ConditionFalse, "policy will be None, and memory_manager_state was written with Static"},
		"more is reserved":      {withMemory, moreMemory, state, machine(190*gib, 16*gib), metav1.ConditionFalse, "of memory on NUMA node 0, 2147483648 bytes will be reserved, and memory_manager_state was written with 1073741824"},
		"huge pages were added": {withMemory, withMemory, state, machine(190*gib, 24*gib), metav1.ConditionFalse, "NUMA node 1 has 25769803776 bytes of hugepages-1Gi, and memory_manager_state was written with 17179869184"},
		"a memory bank is gone": {withMemory, withMemory, state, machine(190*gib-4096, 16*gib), metav1.ConditionFalse, "NUMA node 1 has 204010942464 bytes of memory"},
		"a NUMA node is gone":   {withMemory, withMemory, state, known(map[int32]hostcpu.NodeMemory{0: {}}), metav1.ConditionFalse, "the machine has 1 NUMA nodes"},
		"the machine unreadable": {withMemory, withMemory, state, source.Reading[map[int32]hostcpu.NodeMemory]{}.Next(nil, errors.New("no sysfs"), noon),
			metav1.ConditionUnknown, "the machine's memory cannot be read: no sysfs"},
	} {
		f := restarting(t, tc.running, tc.next)
		f.Kubelet.Memory = known(tc.state)
		f.Memory = tc.machine
		c := restartOf(f)
		if c.Status != tc.status || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s (%s): %s; want %s with %q", name, c.Status, c.Reason, c.Message, tc.status, tc.want)
		}
	}
}

// What nobody can know is said so, and nobody is sent to drain a healthy node.
func TestARestartThatIsNotCertain(t *testing.T) {
	noConfigz := source.Reading[kubelet.Config]{}.Next(kubelet.Config{}, errors.New("403"), noon)
	for name, tc := range map[string]struct {
		change func(*Facts)
		status metav1.ConditionStatus
		want   string
	}{
		"a policy from a drop-in file or a flag": {func(f *Facts) {
			f.KubeletVersion = "v1.35.2-eks-1"
			f.Kubelet.Configz = noConfigz
			f.Kubelet.File = known(configFrom(t, "kubeReserved: {cpu: 70m}\n"))
			f.Kubelet.Modified = f.Kubelet.Started.Add(-time.Minute)
		}, metav1.ConditionUnknown, "flags or drop-in files are above it, and are not seen"},
		"a file that cannot be read": {func(f *Facts) { f.Kubelet.File = f.Kubelet.File.Next(kubelet.Config{}, errors.New("damaged"), noon) },
			metav1.ConditionUnknown, "cannot be read: damaged"},
		"an unknown kubelet":          {func(f *Facts) { f.KubeletVersion = "v1.41.0" }, metav1.ConditionUnknown, `"v1.41.0"`},
		"a threshold that is a share": {func(f *Facts) { *f = restarting(t, staticConfig, withMemory+"evictionHard: {memory.available: 5%}\n") }, metav1.ConditionUnknown, "a share of the machine's memory"},
		"a file that was changed since": {func(f *Facts) {
			f.Kubelet.Configz = noConfigz
			f.Kubelet.File = known(configFrom(t, "kubeReserved: {cpu: 70m}\n"))
		}, metav1.ConditionFalse, "policy will be none"},
	} {
		f := restarting(t, staticConfig, staticConfig)
		tc.change(&f)
		s := Build(f, v1alpha1.NodeCPUStatus{}, noon)
		c := find(s.Conditions, v1alpha1.ConditionRestartSafe)
		if c.Status != tc.status || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s (%s): %s; want %s with %q", name, c.Status, c.Reason, c.Message, tc.status, tc.want)
		}
		if exact := find(s.Conditions, v1alpha1.ConditionExact); strings.HasPrefix(name, "a policy from") &&
			(exact.Status != metav1.ConditionFalse || !strings.Contains(exact.Message, "flags or drop-in files stand above it, and are not seen") || strings.Contains(exact.Message, "restart the kubelet")) {
			t.Errorf("%s: Exact %s (%s): %s", name, exact.Status, exact.Reason, exact.Message)
		}
	}
}
