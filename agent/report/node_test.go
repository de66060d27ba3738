// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// runningPod is a pod that holds no CPUs, so only labels and taints decide about it.
func runningPod(name string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "vms", Name: name, UID: "another"}}
	pod.Status.Phase = corev1.PodRunning
	change(pod)
	return pod
}

func selects(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{key: value} }
}

func wants(key string, operator corev1.NodeSelectorOperator, values ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: operator, Values: values}}}},
		}}}
	}
}

// A kubelet reads node selectors, required affinities and taints again when it starts.
func TestLabelsAtTheKubeletsStart(t *testing.T) {
	taint := func(pod *corev1.Pod) *corev1.Node {
		return &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "broken", Effect: corev1.TaintEffectNoExecute}}}}
	}
	labels := func(pairs map[string]string) func(*corev1.Pod) *corev1.Node {
		return func(*corev1.Pod) *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: pairs}}
		}
	}
	with := labels(map[string]string{"cpumanager": "true", "kubernetes.io/hostname": "n"})
	for name, tc := range map[string]struct {
		node   func(*corev1.Pod) *corev1.Node
		change func(*corev1.Pod)
		status metav1.ConditionStatus
		want   string
	}{
		"the label is there":       {with, selects("cpumanager", "true"), metav1.ConditionTrue, ""},
		"the agent took it away":   {labels(nil), selects("cpumanager", "true"), metav1.ConditionFalse, "will fail 1 pods that run: vms/p (NodeAffinity: it selects cpumanager=true, and the node has no such label)"},
		"somebody set it to false": {labels(map[string]string{"cpumanager": "false"}), selects("cpumanager", "true"), metav1.ConditionFalse, "and the node has false"},
		"the pod has ended": {labels(nil), func(pod *corev1.Pod) {
			selects("cpumanager", "true")(pod)
			pod.Status.Phase = corev1.PodSucceeded
		}, metav1.ConditionTrue, ""},
		"an affinity that holds":     {with, wants("cpumanager", corev1.NodeSelectorOpExists), metav1.ConditionTrue, ""},
		"an affinity that does not":  {labels(nil), wants("zone", corev1.NodeSelectorOpIn, "a"), metav1.ConditionFalse, "required node affinity does not match the node's labels"},
		"an affinity that is broken": {with, wants("a b", corev1.NodeSelectorOpIn, "a"), metav1.ConditionFalse, "required node affinity"},
		"a label of the kubelet's":   {labels(nil), selects(corev1.LabelHostname, "n"), metav1.ConditionUnknown, "may fail 1 pods that run: vms/p (NodeAffinity: it selects kubernetes.io/hostname=n"},
		"by affinity as well":        {labels(nil), wants(corev1.LabelTopologyZone, corev1.NodeSelectorOpIn, "a"), metav1.ConditionUnknown, "the kubelet writes that label itself while it starts"},
		"a taint":                    {taint, func(*corev1.Pod) {}, metav1.ConditionFalse, "TaintToleration: it does not tolerate taint broken:NoExecute"},
		"a taint that is tolerated": {taint, func(pod *corev1.Pod) {
			pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}, metav1.ConditionTrue, ""},
		"a static pod": {taint, func(pod *corev1.Pod) { pod.Annotations = map[string]string{mirrorAnnotation: "x"} }, metav1.ConditionTrue, ""},
	} {
		f := restarting(t, staticConfig, staticConfig)
		pod := runningPod("p", tc.change)
		f.Pods = []*corev1.Pod{pod}
		f.Node = tc.node(pod)
		c := restartOf(f)
		if c.Status != tc.status || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s (%s): %s; want %s with %q", name, c.Status, c.Reason, c.Message, tc.status, tc.want)
		}
		if wantReason := tc.status == metav1.ConditionUnknown; wantReason != (c.Reason == ReasonNotCertain) {
			t.Errorf("%s: %s has reason %s", name, c.Status, c.Reason)
		}
	}
}

// Without a CPU manager nobody loses CPUs, and pods are admitted again all the same.
func TestLabelsAtTheStartOfAKubeletWithoutCPUManager(t *testing.T) {
	const none = "cpuManagerPolicy: none\n"
	f := restarting(t, none, none)
	f.Kubelet.Checkpoint.Value.Policy = "none"
	f.Kubelet.Checkpoint.Value.Granted = nil
	f.Kubelet.Allocatable = known(mustCPUs(t, ""))
	f.Pods = []*corev1.Pod{runningPod("old", selects("cpumanager", "true"))}
	c := restartOf(f)
	if c.Status != metav1.ConditionFalse || c.Reason != ReasonWouldRefusePods || !strings.Contains(c.Message, "vms/old") {
		t.Errorf("%s (%s): %s; want the pod that selects the label named", c.Status, c.Reason, c.Message)
	}
}

// A kubelet whose disk is full grants CPUs and cannot write them down. Started again, it takes the pod for a new one.
func TestAPodThatRunsWithoutAnEntry(t *testing.T) {
	asks := func(cpus string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpus), corev1.ResourceMemory: resource.MustParse("1Gi")}
			pod.Spec.Containers = []corev1.Container{{Name: "compute", Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}}
			pod.Status.QOSClass = corev1.PodQOSGuaranteed
		}
	}
	for name, tc := range map[string]struct {
		change func(*corev1.Pod)
		status metav1.ConditionStatus
		want   string
	}{
		"whole CPUs":             {asks("2"), metav1.ConditionUnknown, "may fail 1 pods that run: vms/p (cpu_manager_state has no CPUs for it"},
		"a part of one":          {asks("1500m"), metav1.ConditionTrue, ""},
		"not started":            {func(pod *corev1.Pod) { asks("2")(pod); pod.Status.Phase = corev1.PodPending }, metav1.ConditionTrue, ""},
		"with an entry, as ever": {func(pod *corev1.Pod) { asks("4")(pod); pod.UID = "uid" }, metav1.ConditionTrue, ""},
	} {
		f := restarting(t, staticConfig, staticConfig)
		f.Pods = []*corev1.Pod{runningPod("p", tc.change)}
		if c := restartOf(f); c.Status != tc.status || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s (%s): %s; want %s with %q", name, c.Status, c.Reason, c.Message, tc.status, tc.want)
		}
	}
	// It is named beside those that are lost for certain.
	f := restarting(t, staticConfig, staticConfig)
	f.Pods = []*corev1.Pod{runningPod("p", asks("2")), runningPod("old", selects("no", "such"))}
	c := restartOf(f)
	if c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "vms/old") || !strings.Contains(c.Message, "; it may fail 1 more: vms/p (") {
		t.Errorf("beside another: %s (%s): %s", c.Status, c.Reason, c.Message)
	}
}
