// SPDX-License-Identifier: Apache-2.0

package dedicatedcpu

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/scheduler/config"
	"corepin.dev/corepin/scheduler/vms"
)

const dedicated = "dedicatedCpuPlacement: true"

// vmi puts VMI a with that domain into the plugin's view.
func (b *fixture) vmi(t testing.TB, domain string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	text := "{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {namespace: vms, name: a, uid: vmi-a}, spec: {domain: " + domain + "}}"
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatal(err)
	}
	b.vms.Set(object)
}

// ofVMI makes a pod VMI a's.
func ofVMI(pod *corev1.Pod) {
	pod.Annotations = map[string]string{"kubevirt.io/domain": "a"}
	pod.Labels["kubevirt.io/created-by"] = "vmi-a"
}

func ofOlderVMI(pod *corev1.Pod) {
	ofVMI(pod)
	pod.Labels["kubevirt.io/created-by"] = "vmi-of-yesterday"
}

func TestPreFilterJudgesTheVMI(t *testing.T) {
	memory := "memory: {guest: 1Gi}"
	for name, test := range map[string]struct {
		domain      string
		strictness  vmi.Strictness
		pod         *corev1.Pod
		want        fwk.Code
		wantMessage []string
	}{
		"a sound VM": {domain: "{cpu: {cores: 2, " + dedicated + "}, " + memory + "}", pod: launcherPod("p", "2", ofVMI)},
		"every broken rule is told, with the fix": {
			domain: "{cpu: {cores: 2, " + dedicated + "}, resources: {limits: {cpu: 1500m}}}", pod: launcherPod("p", "2", ofVMI),
			want:        fwk.UnschedulableAndUnresolvable,
			wantMessage: []string{"the VM is inconsistent", "spec.domain.resources.limits.memory: no memory is given; set limits.memory", "1500m is not a whole number"},
		},
		"given twice, equal":                  {domain: "{cpu: {cores: 2, " + dedicated + "}, " + memory + ", resources: {limits: {cpu: 2}}}", pod: launcherPod("p", "2", ofVMI)},
		"given twice, equal, Strict":          {domain: "{cpu: {cores: 2, " + dedicated + "}, " + memory + ", resources: {limits: {cpu: 2}}}", pod: launcherPod("p", "2", ofVMI), strictness: vmi.Strict},
		"given twice, two numbers":            {domain: "{cpu: {cores: 2, " + dedicated + "}, " + memory + ", resources: {limits: {cpu: 3}}}", pod: launcherPod("p", "2", ofVMI), want: fwk.UnschedulableAndUnresolvable, wantMessage: []string{"remove one of the two"}},
		"given twice, equal, KubeVirt's word": {domain: "{cpu: {cores: 2, " + dedicated + "}, " + memory + ", resources: {limits: {cpu: 2}}}", pod: launcherPod("p", "2", ofVMI), strictness: vmi.KubeVirt},
		"a field has not its type":            {domain: "{cpu: {cores: two, " + dedicated + "}, " + memory + "}", pod: launcherPod("p", "2", ofVMI), want: fwk.UnschedulableAndUnresolvable, wantMessage: []string{"spec.domain.cpu.cores: must be a whole number"}},
		"the pod is of an older VMI":          {domain: "{cpu: {cores: 2, " + dedicated + "}}", pod: launcherPod("p", "2", ofOlderVMI)},
		"the pod is of another VMI":           {domain: "{cpu: {cores: 2, " + dedicated + "}}", pod: launcherPod("p", "2")},
		"the VM grew after its pod was made": {
			domain: "{cpu: {cores: 3, isolateEmulatorThread: true, " + dedicated + "}, " + memory + "}", pod: launcherPod("p", "3", ofVMI),
			want: fwk.UnschedulableAndUnresolvable, wantMessage: []string{"needs 4 CPUs", `"compute" asks for 3`, "delete the pod"},
		},
		"only the user's own node selector": {domain: "{cpu: {cores: 2}, " + memory + "}", pod: launcherPod("p", "1500m", ofVMI, burstable), want: fwk.Skip},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{Strictness: test.strictness})
			b.vmi(t, test.domain)
			_, status := b.PreFilter(t.Context(), framework.NewCycleState(), test.pod, nil)
			if status.Code() != test.want {
				t.Errorf("got %s %q, want %s", status.Code(), status.Message(), test.want)
			}
			for _, part := range test.wantMessage {
				if !strings.Contains(status.Message(), part) {
					t.Errorf("message %q does not say %q", status.Message(), part)
				}
			}
			if _, status := b.SignPod(t.Context(), test.pod); (status.Code() == fwk.Unschedulable) != (test.want == fwk.UnschedulableAndUnresolvable) {
				t.Errorf("signed: %s", status.Code())
			}
		})
	}
}

// A node that would admit the pod is refused where the guest could not be laid out on what it would grant,
// in whatever order it hears of the pods in flight.
func TestFilterAsksWhetherTheGuestFits(t *testing.T) {
	const (
		pair  = "{cpu: {cores: 1, threads: 2, " + dedicated + "}, memory: {guest: 1Gi}}"
		lone  = "{cpu: {cores: 2, " + dedicated + "}, memory: {guest: 1Gi}}"
		cells = "{cpu: {cores: 2, " + dedicated + ", numa: {guestMappingPassthrough: {}}}, memory: {guest: 2Mi, hugepages: {pageSize: 2Mi}}}"
		noSMT = "1 socket x 1 numa x 4 cores x 1 thread"
	)
	for name, test := range map[string]struct {
		domain, machine, held string
		inFlight              bool
		want                  *refusal
	}{
		"a core is free":                                           {domain: pair, machine: twoNUMA, held: "0-6,8-14"},
		"only single threads are free":                             {domain: pair, machine: twoNUMA, held: "0-7,10-15", want: &refusedSplitsThreads},
		"single threads do for other guests":                       {domain: lone, machine: twoNUMA, held: "0-7,10-15"},
		"no core has two threads":                                  {domain: pair, machine: noSMT, want: &refusedAlwaysSplitsThreads},
		"a core is free, and perhaps taken before":                 {domain: pair, machine: twoNUMA, held: "0-5,8-13", inFlight: true},
		"a core is free, and single threads if it is taken before": {domain: pair, machine: twoNUMA, held: "0-4,6,9-13,14", inFlight: true, want: &refusedSplitsThreads},
		"one NUMA node for one page":                               {domain: cells, machine: twoNUMA},
		"two NUMA nodes for one page":                              {domain: cells, machine: twoNUMA, held: "0-2,4-6,8-15", want: &refusedGuestNUMA},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(config.DedicatedCPUArgs{})
			b.vmi(t, test.domain)
			held, err := cpuset.Parse(test.held)
			if err != nil {
				t.Fatal(err)
			}
			granted, pods := map[string]string{}, []*corev1.Pod{}
			if !held.IsEmpty() {
				granted["x"], pods = test.held, append(pods, guaranteedPod("x", strconv.Itoa(held.Len())))
			}
			if test.inFlight {
				pods = append(pods, guaranteedPod("y", "2"))
			}
			node := b.node(t, "n", pods...)
			allocatable(node, "64") // the counting of millicores is not asked here
			b.report(t, "n", granted, func(s *v1alpha1.NodeCPUStatus) {
				s.CPUManager.Options, s.TopologyManager.Policy = nil, "none"
				machine := cputopology.MustParse(test.machine)
				nodereport.SetTopology(s, machine)
				s.SharedCPUs = machine.CPUs().Minus(held).String()
				if test.machine == noSMT {
					s.ReservedCPUs = "0"
				}
			})
			pod := launcherPod("p", "2", ofVMI)
			got := b.Filter(t.Context(), b.preFilter(t, pod), pod, node)
			if test.want == nil && !got.IsSuccess() || test.want != nil && (got.Message() != test.want.reason || got.Code() != test.want.code) {
				t.Errorf("got %s %q, want %+v", got.Code(), got.Message(), test.want)
			}
		})
	}
}

// Until the VMs are listed a launcher pod waits; the end of the listing, whatever it brought, wakes it.
func TestLauncherPodsWaitForTheVMs(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.vms = vms.New(fake.NewSimpleDynamicClient(runtime.NewScheme()))
	pod := launcherPod("p", "2", ofVMI)
	if err := b.podLister.Add(pod); err != nil {
		t.Fatal(err)
	}
	b.listed(t)
	if status := b.PreEnqueue(t.Context(), pod); status.Code() != fwk.Pending {
		t.Errorf("got %s %q", status.Code(), status.Message())
	}
	b.wakeAll()
	if !slices.Contains(b.queue.names(), "vms/p") {
		t.Error("the pod was not tried again when the listing had ended")
	}
}

func TestAChangedVMWakesItsPods(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	bound := launcherPod("q", "2", ofVMI)
	bound.Spec.NodeName = "n"
	for _, pod := range []*corev1.Pod{launcherPod("p", "2", ofVMI), bound, launcherPod("other", "2")} {
		if err := b.podLister.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	b.vmiChanged(logger(t), types.NamespacedName{Namespace: "vms", Name: "a"})
	if got := b.queue.names(); !slices.Equal(got, []string{"vms/p"}) {
		t.Errorf("tried again: %v", got)
	}
}

func TestOtherPodsCanBeIgnored(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{OtherPods: config.Ignore})
	if _, status := b.PreFilter(t.Context(), framework.NewCycleState(), guaranteedPod("a", "2"), nil); !status.IsSkip() {
		t.Errorf("a pod without a VM: %s", status.Code())
	}
	if _, status := b.PreFilter(t.Context(), framework.NewCycleState(), launcherPod("a", "2"), nil); !status.IsSuccess() {
		t.Errorf("a VM's pod: %s", status.Code())
	}
}

func allocatable(node *framework.NodeInfo, cpus string) {
	object := node.Node()
	object.Status.Capacity = nil
	object.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus)}
	node.SetNode(object)
}

// A VM that runs and must move is not held up by rules that were not there when it started; what could
// not hold it is refused all the same.
func TestMigrationTargets(t *testing.T) {
	b := newFixture(config.DedicatedCPUArgs{})
	b.vmi(t, "{cpu: {cores: 4, "+dedicated+"}, memory: {guest: 1Gi}, resources: {limits: {cpu: 3}}}")
	target := func(pod *corev1.Pod) { pod.Labels["kubevirt.io/migrationJobUID"] = "m" }
	for _, pod := range []*corev1.Pod{launcherPod("source", "2", ofVMI, running), launcherPod("target", "4", ofVMI, target)} {
		if err := b.podLister.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	if _, status := b.PreFilter(t.Context(), framework.NewCycleState(), launcherPod("start", "4", ofVMI), nil); status.Code() != fwk.UnschedulableAndUnresolvable {
		t.Errorf("a new pod of the VM: %s %q", status.Code(), status.Message())
	}
	moving := launcherPod("target", "4", ofVMI, target)
	b.preFilter(t, moving)
	if plugged := b.pluggedCPUs(moving); plugged != 2 {
		t.Errorf("%d CPUs are plugged, want 2", plugged)
	}
	_, status := b.PreFilter(t.Context(), framework.NewCycleState(), launcherPod("target", "2", ofVMI, target), nil)
	if !strings.Contains(status.Message(), "needs 4 CPUs") {
		t.Errorf("a target that is too small: %s %q", status.Code(), status.Message())
	}
}

func running(pod *corev1.Pod) { pod.Status.Phase, pod.Spec.NodeName = corev1.PodRunning, "n" }
