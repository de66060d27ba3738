// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// allFacts are those of a node where every source is read. The kubelet's own answers agree with its files.
func allFacts() Facts {
	f := facts()
	f.Kubelet.Configz = known(f.Kubelet.File.Value)
	f.Kubelet.Allocatable = known(cpuset.Of(1, 2, 3, 5, 6, 7))
	f.Kubelet.Memory = known(kubelet.Memory{Policy: "None"})
	f.Kubelet.Served = known(map[string][]kubelet.Device{})
	f.Kubelet.Devices = known(kubelet.Devices{})
	f.Pods = []*corev1.Pod{}
	return f
}

func TestEachSourceDegradesAlone(t *testing.T) {
	whole := Build(allFacts(), v1alpha1.NodeCPUStatus{}, noon)
	if c := find(whole.Conditions, v1alpha1.ConditionSourcesComplete); c.Status != metav1.ConditionTrue {
		t.Fatalf("with all sources: %+v", c)
	}
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	for name, tc := range map[string]struct {
		change      func(*Facts)
		reason      string
		says        string
		exact       metav1.ConditionStatus
		exactReason string
	}{
		"configz":      {func(f *Facts) { fail(&f.Kubelet.Configz, "403") }, ReasonConfigzUnreadable, "its configuration file is believed instead", yes, ReasonPredictable},
		"configz ever": {func(f *Facts) { never(&f.Kubelet.Configz); fail(&f.Kubelet.Configz, "403") }, ReasonConfigzUnreadable, "403", yes, ReasonPredictableByFile},
		"the file":     {func(f *Facts) { fail(&f.Kubelet.File, "gone") }, ReasonConfigUnreadable, "next restart is not seen", yes, ReasonPredictable},
		"configz and the file": {func(f *Facts) { fail(&f.Kubelet.File, "gone"); fail(&f.Kubelet.Configz, "403") },
			ReasonConfigzUnreadable, "gone", no, ReasonConfigUnreadable},
		"configz, and another file": {func(f *Facts) { fail(&f.Kubelet.Configz, "down"); f.Kubelet.File.Value.TopologyManagerPolicy = "none" },
			ReasonConfigzUnreadable, "down", no, ReasonConfigUnreadable},
		"podresources":      {func(f *Facts) { fail(&f.Kubelet.Allocatable, "no socket") }, ReasonPodResourcesUnreadable, "computed from the configuration", yes, ReasonPredictable},
		"podresources ever": {func(f *Facts) { never(&f.Kubelet.Allocatable); fail(&f.Kubelet.Allocatable, "no socket") }, ReasonPodResourcesUnreadable, "no socket", yes, ReasonPredictable},
		"memory":            {func(f *Facts) { fail(&f.Kubelet.Memory, "empty") }, ReasonMemoryUnreadable, "no prediction depends on it", yes, ReasonPredictable},
		"devices":           {func(f *Facts) { fail(&f.Kubelet.Devices, "half") }, ReasonDevicesUnreadable, "a device that may have a NUMA node", yes, ReasonPredictable},
		"state":             {func(f *Facts) { fail(&f.Kubelet.Checkpoint, "half") }, ReasonStateUnreadable, "nothing is predicted exactly", no, ReasonStateUnreadable},
		"topology":          {func(f *Facts) { fail(&f.Host, "no sysfs") }, ReasonTopologyUnreadable, "no sysfs", no, ReasonTopologyUnreadable},
	} {
		f := allFacts()
		tc.change(&f)
		s := Build(f, whole, noon.Add(time.Hour))
		c := find(s.Conditions, v1alpha1.ConditionSourcesComplete)
		if c.Status != no || c.Reason != tc.reason || !strings.Contains(c.Message, tc.says) || !strings.Contains(c.Message, "since 2026-11-23T12:01:00Z") {
			t.Errorf("%s: %s (%s): %s; want reason %s and %q", name, c.Status, c.Reason, c.Message, tc.reason, tc.says)
		}
		if c := find(s.Conditions, typeExact); c.Status != tc.exact || c.Reason != tc.exactReason {
			t.Errorf("%s: exact is %s (%s): %s; want %s (%s)", name, c.Status, c.Reason, c.Message, tc.exact, tc.exactReason)
		}
		s.Conditions = whole.Conditions
		if !sameMeaning(s, whole) {
			t.Errorf("%s: the report says another thing:\n%+v\nwant\n%+v", name, s, whole)
		}
	}
}

func TestFilesThatAreNotWatchedAreTold(t *testing.T) {
	f := allFacts()
	f.Kubelet.Watched = f.Kubelet.Watched.Next(false, errors.New("too many open files"), noon)
	s := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	c := find(s.Conditions, v1alpha1.ConditionSourcesComplete)
	if c.Status != metav1.ConditionFalse || c.Reason != ReasonFilesNotWatched || !strings.Contains(c.Message, "too many open files") {
		t.Errorf("condition %+v", c)
	}
}

func TestSourcesThatDisagreeAreToldNotHidden(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Facts)
		want   string
	}{
		"the kubelet keeps another CPU": {func(f *Facts) { f.Kubelet.Allocatable = known(cpuset.Of(1, 2, 3, 5, 6)) }, `keeps CPUs "0,4,7" from being granted, but its configuration comes to "0,4"`},
		"a CPU came online": {func(f *Facts) {
			f.Host = known(cputopology.MustParse("1 sockets x 1 numa x 5 cores x 2 threads"))
			f.Kubelet.Checkpoint.Value.Shared = cpuset.Of(0, 2, 3, 4, 6, 7)
			f.Kubelet.File.Value.ReservedCPUs = cpuset.Of(0, 4)
			f.Kubelet.Configz.Value.ReservedCPUs = cpuset.Of(0, 4)
		}, "CPUs came online since it started"},
		"a CPU went offline":        {func(f *Facts) { f.Host = known(cputopology.MustParse("1 sockets x 1 numa x 3 cores x 2 threads")) }, "may grant CPUs 6-7, which are not online"},
		"threads were switched off": {func(f *Facts) { f.Host = known(cputopology.MustParse("1 sockets x 1 numa x 4 cores x 1 threads")) }, "may grant CPUs 5-7, which are not online"},
		"a grant is of no CPU":      {func(f *Facts) { f.Kubelet.Checkpoint.Value.Granted["uid"]["compute"] = cpuset.Of(1, 99) }, "CPUs 99 are in no core of the report"},
		"the kubelet is not static": {func(f *Facts) { f.Kubelet.Allocatable = known(cpuset.Set{}) }, `policy static, but the kubelet says that it may grant CPUs ""`},
		"the kubelet is static":     {func(f *Facts) { f.Kubelet.Checkpoint.Value.Policy = "none" }, `policy none, but the kubelet says that it may grant CPUs "1-3,5-7"`},
		"the file alone, changed late": {func(f *Facts) {
			never(&f.Kubelet.Configz)
			fail(&f.Kubelet.Configz, "403")
			f.Kubelet.Started, f.Kubelet.Modified = noon, noon.Add(1)
		}, "changed after the kubelet started"},
	} {
		f := allFacts()
		tc.change(&f)
		s := Build(f, v1alpha1.NodeCPUStatus{}, noon)
		if c := find(s.Conditions, typeExact); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: exact is %s (%s): %s; want False with %q", name, c.Status, c.Reason, c.Message, tc.want)
		}
	}
}

func TestMemoryIsReportedAsItIs(t *testing.T) {
	f := allFacts()
	f.Kubelet.Memory = known(kubelet.Memory{
		Policy: "Static",
		NUMANodes: map[int32]kubelet.NUMAMemory{
			1: {Assignments: 1, Group: []int32{1}, Resources: map[string]kubelet.MemoryResource{"memory": {Total: 9}, "hugepages-1Gi": {Free: 3}}},
			0: {Group: []int32{0}},
		},
		Granted: map[types.UID]map[string][]kubelet.MemoryBlock{"uid": {"c": {{NUMANodes: []int32{1}, Type: "memory", Size: 5}}}},
	})
	m := Build(f, v1alpha1.NodeCPUStatus{}, noon).MemoryManager
	if len(m.NUMANodes) != 2 || m.NUMANodes[0].ID != 0 || m.NUMANodes[1].Resources[0].Type != "hugepages-1Gi" || m.NUMANodes[1].Resources[1].Total != 9 ||
		m.Granted[0].Containers[0].Blocks[0].Size != 5 {
		t.Errorf("got %+v", m)
	}
}

// podOf is a running pod whose container compute asks for that many CPUs.
func podOf(uid types.UID, cpus string) *corev1.Pod {
	both := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1Gi")}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: "vm-" + string(uid), UID: uid},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: both, Limits: both}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSGuaranteed},
	}
}

func TestRestartWarnings(t *testing.T) {
	edit := func(f *Facts, change func(*kubelet.Config)) {
		f.Kubelet.Started, f.Kubelet.Modified = noon, noon.Add(time.Second)
		change(&f.Kubelet.File.Value)
	}
	before := Build(allFacts(), v1alpha1.NodeCPUStatus{}, noon)
	for name, tc := range map[string]struct {
		change func(*Facts)
		reason string // "": nothing to warn of
		says   string
		event  bool
	}{
		"nothing":            {func(*Facts) {}, "", "", false},
		"an edit that works": {func(f *Facts) { edit(f, func(c *kubelet.Config) { c.TopologyManagerPolicy = "best-effort" }) }, "", "", false},
		"policy none": {func(f *Facts) { edit(f, func(c *kubelet.Config) { c.CPUManagerPolicy = "none" }) },
			ReasonWouldNotStart, "remove that file first, or the 1 pods", true},
		"other reserved CPUs": {func(f *Facts) { edit(f, func(c *kubelet.Config) { c.ReservedCPUs = cpuset.Of(0, 1) }) },
			ReasonWouldNotStart, "not all reserved cpus", true},
		"an option that is nonsense": {func(f *Facts) {
			edit(f, func(c *kubelet.Config) { c.CPUManagerOptions = map[string]string{"full-pcpus-only": "perhaps"} })
		}, ReasonWouldNotStart, "will not start: CPU manager option full-pcpus-only", true},
		"whole cores from now on": {func(f *Facts) {
			for _, c := range []*kubelet.Config{&f.Kubelet.Configz.Value, &f.Kubelet.File.Value} {
				c.CPUManagerOptions = nil
			}
			f.Kubelet.Checkpoint.Value.Granted = map[types.UID]map[string]cpuset.Set{"odd": {"compute": cpuset.Of(1)}}
			f.Kubelet.Checkpoint.Value.Shared = cpuset.Of(0, 2, 3, 4, 5, 6, 7)
			f.Pods = []*corev1.Pod{podOf("odd", "1")}
			edit(f, func(c *kubelet.Config) { c.CPUManagerOptions = map[string]string{"full-pcpus-only": "true"} })
		}, ReasonWouldRefusePods, "will fail 1 pods that run: vms/vm-odd (SMTAlignmentError)", true},
		"a full node, nothing edited": {func(f *Facts) {
			f.Kubelet.Checkpoint.Value.Granted = map[types.UID]map[string]cpuset.Set{"big": {"compute": cpuset.Of(1, 2, 5, 6)}}
			f.Kubelet.Checkpoint.Value.Shared = cpuset.Of(0, 3, 4, 7)
			f.Pods = []*corev1.Pod{podOf("big", "4")}
		}, ReasonWouldRefusePods, "started again, the kubelet will fail 1 pods", false},
		"a pod with CPUs as a whole": {func(f *Facts) {
			for _, c := range []*kubelet.Config{&f.Kubelet.Configz.Value, &f.Kubelet.File.Value} {
				c.Gates, c.CPUManagerOptions, c.TopologyManagerPolicy, c.TopologyManagerScope = podLevelGate, nil, "best-effort", "pod"
			}
			f.Kubelet.Checkpoint.Value.Pods = wholePod
			whole := podOf("uid", "2")
			whole.Spec.Resources = whole.Spec.Containers[0].Resources.DeepCopy()
			f.Pods = []*corev1.Pod{whole}
		}, ReasonWouldMovePods, "will give 1 pods other CPUs than they have: vms/vm-uid", true},
		"a CPU is gone": {func(f *Facts) { f.Host = known(cputopology.MustParse("1 sockets x 1 numa x 3 cores x 2 threads")) },
			ReasonWouldNotStart, "may not start", true},
	} {
		f := allFacts()
		tc.change(&f)
		s := Build(f, before, noon.Add(time.Minute))
		c := find(s.Conditions, v1alpha1.ConditionRestartSafe)
		if want := tc.reason == ""; (c.Status == metav1.ConditionTrue) != want || (!want && c.Reason != tc.reason) || !strings.Contains(c.Message, tc.says) {
			t.Errorf("%s: %s (%s): %s; want reason %q with %q", name, c.Status, c.Reason, c.Message, tc.reason, tc.says)
		}
		told := false
		for _, e := range eventsOf(before, s) {
			told = told || e.reason == EventRestartUnsafe
		}
		if told != tc.event {
			t.Errorf("%s: told by an event: %t, want %t", name, told, tc.event)
		}
	}
}

// A pod that holds CPUs may be one that a restart would fail. Before the pods are listed, nobody knows.
func TestRestartIsNotCalledSafeBeforeThePodsAreListed(t *testing.T) {
	f := allFacts()
	f.Pods = nil
	f.PodsUnlisted = true
	s := Build(f, v1alpha1.NodeCPUStatus{}, noon)
	if c := find(s.Conditions, v1alpha1.ConditionRestartSafe); c.Status != "" {
		t.Errorf("without the pods: %+v", c)
	}
	unsafe := metav1.Condition{Type: v1alpha1.ConditionRestartSafe, Status: metav1.ConditionFalse, Reason: ReasonWouldRefusePods}
	s = Build(f, v1alpha1.NodeCPUStatus{Conditions: []metav1.Condition{unsafe}}, noon)
	if c := find(s.Conditions, v1alpha1.ConditionRestartSafe); c.Status != metav1.ConditionFalse {
		t.Errorf("without the pods, over an earlier report: %+v", c)
	}
	f.Kubelet.Started = noon
	f.Kubelet.Modified = noon.Add(time.Second)
	f.Kubelet.File.Value.CPUManagerPolicy = "none"
	s = Build(f, v1alpha1.NodeCPUStatus{}, noon)
	if c := find(s.Conditions, v1alpha1.ConditionRestartSafe); c.Reason != ReasonWouldNotStart {
		t.Errorf("what does not depend on the pods: %+v", c)
	}
	f = allFacts()
	f.Kubelet.Checkpoint.Value.Granted = nil
	f.Kubelet.Checkpoint.Value.Shared = f.Host.Value.CPUs()
	f.Pods = nil
	f.PodsUnlisted = true
	s = Build(f, v1alpha1.NodeCPUStatus{}, noon)
	// A pod without CPUs of its own is admitted again as well, by the node's labels.
	if c := find(s.Conditions, v1alpha1.ConditionRestartSafe); c.Status != "" {
		t.Errorf("where no pod holds CPUs: %+v", c)
	}
}

func TestPolicyChangeIsAnEvent(t *testing.T) {
	before := Build(allFacts(), v1alpha1.NodeCPUStatus{}, noon)
	f := allFacts()
	f.Kubelet.Configz.Value.TopologyManagerPolicy = "best-effort"
	events := eventsOf(before, Build(f, before, noon))
	if len(events) != 1 || events[0].reason != EventPolicyChanged || !strings.Contains(events[0].message, "topology manager best-effort") {
		t.Errorf("events %+v", events)
	}
	if events := eventsOf(v1alpha1.NodeCPUStatus{}, before); len(events) != 1 || events[0].reason != EventCPUManagerDetected {
		t.Errorf("the first report: events %+v", events)
	}
}

func TestCorrectionsAreSpacedOut(t *testing.T) {
	clock := testingclock.NewFakeClock(noon)
	corrections := newCorrections(clock)
	var pauses []time.Duration
	for range 8 {
		if corrections.IsInBackOffSinceUpdate("n1", clock.Now()) {
			t.Fatalf("still in backoff after %v", pauses)
		}
		corrections.Next("n1", clock.Now())
		pause := corrections.Get("n1")
		pauses = append(pauses, pause)
		clock.Step(pause)
	}
	if pauses[0] != time.Second || pauses[1] != 2*time.Second || pauses[7] != time.Minute {
		t.Errorf("pauses %v", pauses)
	}
	clock.Step(2 * time.Minute)
	if corrections.Next("n1", clock.Now()); corrections.Get("n1") != time.Second {
		t.Errorf("after quiet: %s", corrections.Get("n1"))
	}
}
