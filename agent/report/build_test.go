// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/exclusive"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/nodereport"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	typeRunning = v1alpha1.ConditionCPUManagerRunning
	typeExact   = v1alpha1.ConditionExact
)

// facts of a good node: 8 CPUs, CPU 0 and 4 reserved by amount, CPUs 1 and 5 granted.
func facts() Facts {
	return Facts{
		KubeletVersion: "v1.36.3",
		Host:           known(cputopology.MustParse("1 sockets x 1 numa x 4 cores x 2 threads")),
		Kubelet: kubelet.State{
			Checkpoint: known(kubelet.Checkpoint{
				Policy: "static", Shared: cpuset.Of(0, 2, 3, 4, 6, 7),
				Granted: map[types.UID]map[string]cpuset.Set{"uid": {"compute": cpuset.Of(1, 5)}},
			}),
			File: known(kubelet.Config{
				CPUManagerPolicy: "static", CPUManagerOptions: map[string]string{"full-pcpus-only": "true"},
				TopologyManagerPolicy: "single-numa-node", TopologyManagerScope: "container", MemoryManagerPolicy: "None",
				ReservedCount: 2,
			}),
			Configz: source.Reading[kubelet.Config]{}.Next(kubelet.Config{}, errors.New("403"), noon),
		},
	}
}

func known[T any](value T) source.Reading[T] { return source.Reading[T]{}.Next(value, nil, noon) }

// fail makes a reading fail from a minute past noon on.
func fail[T any](r *source.Reading[T], why string) {
	var none T
	*r = r.Next(none, errors.New(why), noon.Add(time.Minute))
}

func never[T any](r *source.Reading[T]) { *r = source.Reading[T]{} }

func TestBuild(t *testing.T) {
	s := Build(facts(), v1alpha1.NodeCPUStatus{Generation: 7}, noon)
	if s.Format != 1 || s.Generation != 7 || s.KubeletVersion != "v1.36.3" || s.CPUManager.Policy != "static" || s.CPUManager.Options["full-pcpus-only"] != "true" ||
		s.TopologyManager.Policy != "single-numa-node" || s.TopologyManager.Scope != "container" || s.MemoryManager.Policy != "None" {
		t.Errorf("got %+v", s)
	}
	if s.ReservedCPUs != "0,4" || s.SharedCPUs != "0,2-4,6-7" || s.Granted[0].Containers[0].CPUs != "1,5" {
		t.Errorf("reserved %s, shared %s, granted %+v", s.ReservedCPUs, s.SharedCPUs, s.Granted)
	}
	if want := (v1alpha1.Summary{CPUs: 8, NUMANodes: 1, Reserved: 2, Granted: 2, Free: 4}); s.Summary != want {
		t.Errorf("summary %+v, want %+v", s.Summary, want)
	}
}

var (
	podLevelGate = map[string]bool{"PodLevelResourceManagers": true}
	wholePod     = map[types.UID]cpuset.Set{"uid": cpuset.Of(1, 5)}
)

// TestBuildPodLevel: the scheduler must read the gate from the report as the kubelet has it.
func TestBuildPodLevel(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Facts)
		want   bool
	}{
		"off":                              {func(*Facts) {}, false},
		"on by the file":                   {func(f *Facts) { f.Kubelet.File.Value.Gates = podLevelGate }, true},
		"on by the kubelet's word":         {func(f *Facts) { f.Kubelet.Configz = known(kubelet.Config{Gates: podLevelGate}) }, true},
		"on by AllAlpha":                   {func(f *Facts) { f.Kubelet.File.Value.Gates = map[string]bool{"AllAlpha": true} }, true},
		"on by a flag, as the state shows": {func(f *Facts) { f.Kubelet.Checkpoint.Value.Pods = wholePod }, true},
		"in a kubelet before":              {func(f *Facts) { f.Kubelet.File.Value.Gates, f.KubeletVersion = podLevelGate, "v1.35.2" }, false},
	} {
		f := facts()
		tc.change(&f)
		s := Build(f, v1alpha1.NodeCPUStatus{}, noon)
		if s.PodLevelResourceManagers != tc.want {
			t.Errorf("%s: the report says %t", name, s.PodLevelResourceManagers)
		}
		node, err := nodereport.Node(&v1alpha1.NodeCPU{Status: s})
		if err != nil || node.PodLevelResourceManagers != tc.want {
			t.Errorf("%s: read back as %v, error %v", name, node, err)
		}
		f.KubeletVersion = ""
		if again := Build(f, s, noon); again.PodLevelResourceManagers != tc.want {
			t.Errorf("%s: another with the node's version unknown", name)
		}
	}
}

func TestBuildReserved(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Facts)
		want   string
	}{
		"an amount":              {func(*Facts) {}, "0,4"},
		"a list wins":            {func(f *Facts) { f.Kubelet.File.Value.ReservedCPUs = cpuset.Of(3) }, "3"},
		"nothing":                {func(f *Facts) { f.Kubelet.File.Value.ReservedCount = 0 }, ""},
		"an amount, policy none": {func(f *Facts) { f.Kubelet.Checkpoint.Value = kubelet.Checkpoint{Policy: "none"} }, ""},
		"no topology yet":        {func(f *Facts) { never(&f.Host) }, "last"},
		"no configuration yet":   {func(f *Facts) { never(&f.Kubelet.File) }, "last"},
		"options that no one knows": {func(f *Facts) {
			f.Kubelet.File.Value.CPUManagerOptions = map[string]string{"full-pcpus-only": "maybe"}
		}, "last"},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts()
			tc.change(&f)
			if got := Build(f, v1alpha1.NodeCPUStatus{ReservedCPUs: "last"}, noon).ReservedCPUs; got != tc.want {
				t.Errorf("reserved CPUs are %q, want %q", got, tc.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	for name, tc := range map[string]struct {
		change                func(*Facts)
		fresh                 bool // there was no report before
		running               metav1.ConditionStatus
		runningReason         string
		exact                 metav1.ConditionStatus
		exactReason, contains string
	}{
		"all is well": {func(*Facts) {}, true, yes, ReasonPolicyStatic, yes, ReasonPredictableByFile, "configuration file"},
		"policy none": {func(f *Facts) {
			f.Kubelet.Checkpoint.Value = kubelet.Checkpoint{Policy: "none"}
			f.Kubelet.File.Value.CPUManagerPolicy, f.Kubelet.File.Value.CPUManagerOptions = "none", nil
		}, true, no, ReasonPolicyNone, yes, ReasonPredictableByFile, ""},
		"the state is unreadable": {func(f *Facts) { fail(&f.Kubelet.Checkpoint, "half written") }, false,
			yes, ReasonStateUnreadable, no, ReasonStateUnreadable, "since 2026-11-23T12:01:00Z, and what is reported of it, if anything, is from before: half written"},
		"the state was never readable": {func(f *Facts) { never(&f.Kubelet.Checkpoint); fail(&f.Kubelet.Checkpoint, "garbage") }, true,
			unknown, ReasonStateUnreadable, no, ReasonStateUnreadable, "garbage"},
		"the state is not readable for this agent": {func(f *Facts) { never(&f.Kubelet.Checkpoint); fail(&f.Kubelet.Checkpoint, "garbage") }, false,
			yes, ReasonStateUnreadable, no, ReasonStateUnreadable, "garbage"},
		"the configuration is unreadable": {func(f *Facts) { fail(&f.Kubelet.File, "no such file") }, false,
			yes, ReasonPolicyStatic, no, ReasonConfigUnreadable, "no such file"},
		"the topology is unreadable": {func(f *Facts) { fail(&f.Host, "no sysfs") }, false, yes, ReasonPolicyStatic, no, ReasonTopologyUnreadable, "no sysfs"},
		"nothing has been read":      {func(f *Facts) { *f = Facts{} }, true, unknown, ReasonStateUnreadable, no, ReasonStateUnreadable, "has not been read yet; the kubelet's configuration"},
		"the policy was edited": {func(f *Facts) {
			f.Kubelet.File.Value.CPUManagerPolicy = "none"
			f.Kubelet.File.Value.CPUManagerOptions = nil
		}, true,
			yes, ReasonPolicyStatic, no, ReasonConfigPending, "says CPU manager policy none, but its state file says static"},
		"grants to whole pods":    {func(f *Facts) { f.Kubelet.Checkpoint.Value.Pods = wholePod }, true, yes, ReasonPolicyStatic, yes, ReasonPredictableByFile, ""},
		"the gate for whole pods": {func(f *Facts) { f.Kubelet.File.Value.Gates = podLevelGate }, true, yes, ReasonPolicyStatic, yes, ReasonPredictableByFile, ""},
		"whole pods, no gate": {func(f *Facts) {
			f.Kubelet.Configz, f.Kubelet.Checkpoint.Value.Pods = f.Kubelet.File, wholePod
		}, true, yes, ReasonPolicyStatic, no, ReasonContradiction, "PodLevelResourceManagers is off"},
		"a CPU has gone offline": {func(f *Facts) { f.Host = known(cputopology.MustParse("1 sockets x 1 numa x 3 cores x 2 threads")) }, true, yes, ReasonPolicyStatic, no, ReasonContradiction, "CPUs 6-7 are in no core"},
		"pods are confined": {func(f *Facts) { f.PodCPUs = exclusive.PodCPUs{CPUs: cpuset.Of(0, 1, 2, 3), By: "kubepods.slice"} }, false, yes, ReasonPolicyStatic, no, ReasonContradiction,
			"the kubelet may grant CPUs 5-7, and no pod can use them: cgroup kubepods.slice above all pods has 0-3"},
		"pods may not use reserved CPUs": {func(f *Facts) { f.PodCPUs = exclusive.PodCPUs{CPUs: cpuset.Of(1, 2, 3, 5, 6, 7), By: "kubepods.slice"} }, false,
			yes, ReasonPolicyStatic, yes, ReasonPredictableByFile, ""},
		"no kubelet version":       {func(f *Facts) { f.KubeletVersion = "" }, true, yes, ReasonPolicyStatic, no, ReasonContradiction, "kubeletVersion"},
		"a kubelet not known":      {func(f *Facts) { f.KubeletVersion = "v1.99.0" }, true, yes, ReasonPolicyStatic, no, ReasonNotModelled, "1.99"},
		"memory manager is Static": {func(f *Facts) { f.Kubelet.File.Value.MemoryManagerPolicy = "Static" }, true, yes, ReasonPolicyStatic, no, ReasonNotModelled, "memory manager"},
	} {
		t.Run(name, func(t *testing.T) {
			var last v1alpha1.NodeCPUStatus
			if !tc.fresh {
				last = Build(facts(), last, noon)
			}
			f := facts()
			tc.change(&f)
			s := Build(f, last, noon.Add(time.Hour))
			if c := find(s.Conditions, typeRunning); c.Status != tc.running || c.Reason != tc.runningReason {
				t.Errorf("%s is %s (%s), want %s (%s): %s", typeRunning, c.Status, c.Reason, tc.running, tc.runningReason, c.Message)
			}
			c := find(s.Conditions, typeExact)
			if c.Status != tc.exact || c.Reason != tc.exactReason || !strings.Contains(c.Message, tc.contains) {
				t.Errorf("%s is %s (%s), want %s (%s): %s; want it to say %q", typeExact, c.Status, c.Reason, tc.exact, tc.exactReason, c.Message, tc.contains)
			}
		})
	}
}

// Whatever cannot be read any more, by this agent or by one that has just started, the report keeps it.
func TestReadErrorsNeverShrinkTheReport(t *testing.T) {
	last := Build(facts(), v1alpha1.NodeCPUStatus{Generation: 3}, noon)
	for name, change := range map[string]func(*Facts){
		"state":                     func(f *Facts) { fail(&f.Kubelet.Checkpoint, "x") },
		"configuration":             func(f *Facts) { fail(&f.Kubelet.File, "x") },
		"topology":                  func(f *Facts) { fail(&f.Host, "x") },
		"state, agent new":          func(f *Facts) { never(&f.Kubelet.Checkpoint); fail(&f.Kubelet.Checkpoint, "x") },
		"configuration, agent new":  func(f *Facts) { never(&f.Kubelet.File); fail(&f.Kubelet.File, "x") },
		"topology, agent new":       func(f *Facts) { never(&f.Host); fail(&f.Host, "x") },
		"everything, agent new":     func(f *Facts) { *f = Facts{} },
		"the node's version is not": func(f *Facts) { f.KubeletVersion = "" },
	} {
		f := facts()
		change(&f)
		s := Build(f, last, noon.Add(time.Hour))
		s.Conditions = last.Conditions
		if !sameMeaning(s, last) {
			t.Errorf("%s: the report is another:\n%+v\nwant\n%+v", name, s, last)
		}
	}
}

func TestSameMeaning(t *testing.T) {
	base := Build(facts(), v1alpha1.NodeCPUStatus{}, noon)
	for name, tc := range map[string]struct {
		change func(*v1alpha1.NodeCPUStatus)
		want   bool
	}{
		"the generation":  {func(s *v1alpha1.NodeCPUStatus) { s.Generation = 99 }, true},
		"an order":        {func(s *v1alpha1.NodeCPUStatus) { s.Cores[0], s.Cores[1] = s.Cores[1], s.Cores[0] }, true},
		"an empty map":    {func(s *v1alpha1.NodeCPUStatus) { s.TopologyManager.Options = map[string]string{} }, true},
		"a grant":         {func(s *v1alpha1.NodeCPUStatus) { s.Granted = nil }, false},
		"the shared pool": {func(s *v1alpha1.NodeCPUStatus) { s.SharedCPUs = "0" }, false},
		"a message":       {func(s *v1alpha1.NodeCPUStatus) { s.Conditions[0].Message = "other" }, false},
		"a time":          {func(s *v1alpha1.NodeCPUStatus) { s.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Add(1)) }, false},
	} {
		// As it comes back from the API server.
		data, err := json.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		var s v1alpha1.NodeCPUStatus
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		tc.change(&s)
		if got := sameMeaning(s, base); got != tc.want {
			t.Errorf("a change of %s: same meaning is %t, want %t", name, got, tc.want)
		}
	}
}

func TestEvents(t *testing.T) {
	type status = v1alpha1.NodeCPUStatus
	conditions := func(all ...metav1.Condition) status { return status{Conditions: all} }
	nothing := status{}
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "m"}
	}
	static, none := condition(typeRunning, "True", ReasonPolicyStatic), condition(typeRunning, "False", ReasonPolicyNone)
	unreadable := condition(typeRunning, "True", ReasonStateUnreadable)
	for name, tc := range map[string]struct {
		before, after status
		want          string
	}{
		"the first report, static":    {nothing, conditions(static), EventCPUManagerDetected},
		"the first report, none":      {nothing, conditions(none), ""},
		"nothing new":                 {conditions(static), conditions(static), ""},
		"gone":                        {conditions(static), conditions(none), EventCPUManagerGone},
		"come":                        {conditions(none), conditions(static), EventCPUManagerDetected},
		"unreadable":                  {conditions(static), conditions(unreadable), EventStateUnreadable},
		"still unreadable":            {conditions(unreadable), conditions(unreadable), ""},
		"readable again":              {conditions(unreadable), conditions(static), ""},
		"readable again, gone":        {conditions(unreadable), conditions(none), EventCPUManagerGone},
		"exact no more":               {conditions(condition(typeExact, "True", "a")), conditions(condition(typeExact, "False", "b")), EventExactnessLost},
		"exact no more, told already": {conditions(static, condition(typeExact, "True", "a")), conditions(unreadable, condition(typeExact, "False", ReasonStateUnreadable)), EventStateUnreadable},
		"exact again":                 {conditions(condition(typeExact, "False", "b")), conditions(condition(typeExact, "True", "a")), ""},
	} {
		var got []string
		for _, e := range eventsOf(tc.before, tc.after) {
			got = append(got, e.reason)
		}
		if strings.Join(got, ",") != tc.want {
			t.Errorf("%s: events %q, want %q", name, got, tc.want)
		}
	}
}
