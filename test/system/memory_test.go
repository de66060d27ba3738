// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
)

// furnished is a kubelet of the matrix with memory and devices, and the VMs that come to it one after the other.
type furnished struct {
	policy, scope string
	vms           []trial
}

// trial is a VM, and what has to be in the text of what becomes of it.
type trial struct {
	asked
	want string
}

const (
	isGranted = "predicted = granted"
	isRefused = "predicted = refused"
	// ifWhole is corepin's advice for a VM that its kubelet would take as a whole, but not container by container.
	ifWhole = "if its kubelet has topology manager scope pod"
)

// The VMs of the matrix.
var (
	// aligned has its VFs and its pages on NUMA node 0.
	aligned = asked{cpus: 2, memory: "128Mi", pages: "2Mi", vfs: 2, decided: true}
	// split asks for the pages of both NUMA nodes with the CPUs of one, scattered for their VFs.
	split     = asked{cpus: 2, memory: "2Gi", pages: "1Gi", decided: true}
	scattered = asked{cpus: 2, vfs: 3, decided: true}
	// wide asks for CPUs and pages of both NUMA nodes: no one has so many.
	wide  = asked{cpus: 10, memory: "2Gi", pages: "1Gi", decided: true}
	pages = asked{cpus: 1, memory: "384Mi", pages: "2Mi", decided: true}
)

// The matrix is in two halves, each of which is a spec.
var (
	loosePolicies = map[string][]furnished{
		numaMachine: {
			{"none", "", []trial{{aligned, isGranted}, {split, isRefused}}},
			{"best-effort", "", []trial{{aligned, isGranted}, {split, isRefused}}},
			{"best-effort", "pod", []trial{{aligned, isGranted}, {split, isRefused}, {pages, isGranted}}},
		},
		flatMachine: {{"none", "", []trial{{aligned, isGranted}, {pages, isGranted}}}},
	}
	strictPolicies = map[string][]furnished{
		numaMachine: {
			{"restricted", "", []trial{{wide, ifWhole}, {scattered, isRefused}, {aligned, isGranted}}},
			{"restricted", "pod", []trial{{wide, isGranted}, {aligned, isRefused}}},
			{"single-numa-node", "pod", []trial{{scattered, isRefused}, {aligned, isGranted}, {pages, isGranted}}},
			{"single-numa-node", "", []trial{{wide, isRefused}, {aligned, isGranted}, {split, isRefused}}},
		},
		flatMachine: {{"single-numa-node", "", []trial{{aligned, isGranted}, {pages, isGranted}}}},
	}
)

// String names the kubelet as the matrix does.
func (f furnished) String() string {
	if f.scope == "" {
		return f.policy
	}
	return f.policy + ", scope " + f.scope
}

// settings are the kubelet's.
func (f furnished) settings(node string) machine.Settings {
	settings := machine.Settings{Reserved: "0,8", TopologyPolicy: f.policy, TopologyScope: f.scope}
	if node == flatMachine {
		settings.Reserved = "0"
	}
	return settings
}

// followsFurnished restarts the kubelets with each policy, both machines side by side. VMs that ask for huge pages and devices
// come one after the other. The prediction is compared with what the kubelet grants each, or with the words of its refusal.
func (w *world) followsFurnished(ctx context.Context, matrix map[string][]furnished) {
	ginkgo.GinkgoHelper()
	table, err := sideBySide(func(node string) (string, error) {
		var table strings.Builder
		fmt.Fprintf(&table, "%s, kubelet %s\n", node, kubelets[node].Version)
		for _, f := range matrix[node] {
			if err := w.followsOne(ctx, node, f, &table); err != nil {
				return table.String(), fmt.Errorf("policy %s on %s: %w", f, node, err)
			}
			say("%s: %s done", node, f)
		}
		return table.String(), nil
	})
	ginkgo.AddReportEntry("prediction = what the kubelet does, policy by policy", ginkgo.ReportEntryVisibilityAlways, table)
	gomega.Expect(err).To(gomega.Succeed())
}

func (w *world) followsOne(ctx context.Context, node string, f furnished, table *strings.Builder) (err error) {
	if err := w.furnish(ctx, node, f.settings(node)); err != nil {
		return err
	}
	var names []string
	defer func() { err = errors.Join(err, w.remove(ctx, names...)) }()
	for i, t := range f.vms {
		name := fmt.Sprintf("vmi-furnished-%s-%d", node, i)
		names = append(names, name)
		j, err := w.judge(ctx, node, name, t.asked)
		if err != nil {
			return fmt.Errorf("VM of %s: %w", t.asked, err)
		}
		fmt.Fprintf(table, "  %s: VM of %s\n    %s\n", f, t.asked, j)
		if !strings.Contains(j.String(), t.want) {
			return fmt.Errorf("VM of %s: %s; wanted: %s", t.asked, j, t.want)
		}
	}
	return nil
}

// judgement is what corepin predicted, and the kubelet did.
type judgement struct {
	pod      *corev1.Pod
	compute  []string // what its compute container holds, in words
	refusal  string   // reason and message
	explains string   // corepin's event, for a VM that is refused
}

// String says it in one line, and adds corepin's event.
func (j judgement) String() string {
	if j.refusal != "" {
		return fmt.Sprintf("predicted = refused: %s\n    corepin: %s", j.refusal, j.explains)
	}
	return "predicted = granted: " + strings.Join(j.compute, ", ")
}

// judge applies a VM, for one node, that corepin is to place. What is predicted from the node's report must be what the kubelet
// does. A VM that is refused must not be bound by corepin; stock kube-scheduler binds it then, and the kubelet's own refusal is
// compared.
func (w *world) judge(ctx context.Context, node, name string, a asked) (j judgement, err error) {
	known, err := w.knownNode(ctx, node)
	if err != nil {
		return j, err
	}
	if err := w.Apply(ctx, a.yaml(name, "corepin", node)); err != nil {
		return j, err
	}
	if j.pod, err = w.awaitPod(ctx, name); err != nil {
		return j, err
	}
	asks := admission.PodOf(j.pod)
	if why := known.Inexact(asks); why != "" {
		return j, fmt.Errorf("not predictable: %s", why)
	}
	decision := admission.Admit(known, &asks)
	say("%s on %s: predicted %s", name, node, decision)
	if decision.Verdict != admission.Admitted {
		return w.refused(ctx, node, name, a, decision)
	}
	want := predictedHoldings(known, j.pod, &asks, &decision)
	if j.pod, err = w.awaitHoldings(ctx, name, node, want); err != nil {
		return j, err
	}
	for _, h := range want {
		if h.container == "compute" {
			j.compute = append(j.compute, h.what)
		}
	}
	return j, nil
}

func (w *world) awaitPod(ctx context.Context, name string) (pod *corev1.Pod, err error) {
	err = await.Every(ctx, glance, name+" to have a pod", limit, func(ctx context.Context) error {
		pod, err = w.PodOf(ctx, name)
		return err
	})
	return pod, err
}

// predictedHoldings is what a pod is to hold, in words.
func predictedHoldings(node *admission.Node, pod *corev1.Pod, asks *admission.Pod, decision *admission.Decision) (all []holding) {
	places := func(mask topologymanager.Mask) string {
		var ids []int
		for ; mask != 0; mask = mask.Rest() {
			ids = append(ids, node.Topology.NUMANodes()[mask.First()].ID)
		}
		return list(ids)
	}
	for _, grant := range decision.Grants {
		all = append(all, holding{pod.UID, grant.Container, "CPUs " + grant.CPUs.String()})
	}
	for _, held := range decision.Held.Devices {
		all = append(all, holding{pod.UID, held.Container, deviceText(held.Devices, held.Resource, places(held.NUMANodes))})
	}
	for _, container := range asks.Containers {
		for _, request := range container.Devices {
			if node.TopologyManager.Policy == topologymanager.PolicyNone && request.Resource == string(vf) && request.Count > 0 {
				all = append(all, holding{pod.UID, container.Name, deviceText(request.Count, request.Resource, anyNode)})
			}
		}
	}
	for _, held := range decision.Held.Memory {
		all = append(all, holding{pod.UID, held.Container, memoryText(held.Type, int64(held.Bytes), places(held.NUMANodes))})
	}
	return all
}

// awaitHoldings waits until a VM's pod is bound and the kubelet's state files say that it holds just what is wanted.
func (w *world) awaitHoldings(ctx context.Context, name, node string, want []holding) (pod *corev1.Pod, err error) {
	m := w.machines[node]
	err = await.Every(ctx, glance, name+" to hold "+sorted(want), limit, func(ctx context.Context) error {
		if pod, err = w.PodOf(ctx, name); err != nil {
			return err
		}
		if pod.Status.Phase == corev1.PodFailed {
			return await.Stop(fmt.Errorf("pod %s failed: %s: %s", pod.Name, pod.Status.Reason, pod.Status.Message))
		}
		if pod.Spec.NodeName == "" {
			return fmt.Errorf("pod %s is on no node: %v", pod.Name, pod.Status.Conditions)
		}
		cpus, err := readCheckpoint(ctx, m)
		if err != nil {
			return err
		}
		aligned := !slices.ContainsFunc(want, func(h holding) bool { return strings.HasSuffix(h.what, anyNode) })
		held, _, err := besides(ctx, m, aligned)
		if err != nil {
			return err
		}
		held = slices.DeleteFunc(held, func(h holding) bool { return h.pod != pod.UID })
		granted, err := cpus.granted(string(pod.UID))
		for container, set := range granted {
			held = append(held, holding{pod.UID, container, "CPUs " + set.String()})
		}
		return errors.Join(err, equal("holdings", sorted(want), sorted(held)))
	})
	return pod, err
}

// refused waits until corepin says that a VM finds no room. Then stock kube-scheduler gets the same VM, and the kubelet must
// refuse it as predicted, word for word.
func (w *world) refused(ctx context.Context, node, name string, a asked, decision admission.Decision) (j judgement, err error) {
	j.refusal = decision.Reason + ": " + decision.Message
	j.explains, err = w.awaitExplained(ctx, name)
	if err != nil {
		return j, err
	}
	if err := w.remove(ctx, name); err != nil {
		return j, err
	}
	if err := w.Apply(ctx, a.yaml(name, "default-scheduler", node)); err != nil {
		return j, err
	}
	err = await.Every(ctx, glance, "the kubelet to refuse "+name, limit, func(ctx context.Context) error {
		if j.pod, err = w.PodOf(ctx, name); err != nil {
			return err
		}
		if j.pod.Status.Phase != corev1.PodFailed {
			return fmt.Errorf("pod %s is %s on node %q: %v", j.pod.Name, j.pod.Status.Phase, j.pod.Spec.NodeName, j.pod.Status.Conditions)
		}
		return nil
	})
	if err != nil {
		return j, err
	}
	// The kubelet puts three words before it (pkg/kubelet/kubelet.go, rejectPod, v1.36.3).
	said := j.pod.Status.Reason + ": " + strings.TrimPrefix(j.pod.Status.Message, "Pod was rejected: ")
	return j, errors.Join(equal("refusal", j.refusal, said), w.remove(ctx, name))
}

// awaitExplained waits until a VM's pod is unschedulable, and returns the event in which corepin says what the nodes lack.
func (w *world) awaitExplained(ctx context.Context, name string) (note string, err error) {
	err = await.Every(ctx, glance, "corepin to say what "+name+" lacks", limit, func(ctx context.Context) error {
		pod, err := w.PodOf(ctx, name)
		if err != nil {
			return err
		}
		if pod.Spec.NodeName != "" {
			return await.Stop(fmt.Errorf("pod %s is bound to %s, where a refusal is predicted", pod.Name, pod.Spec.NodeName))
		}
		if !unschedulable(pod) {
			return fmt.Errorf("conditions of pod %s: %v", pod.Name, pod.Status.Conditions)
		}
		events, err := w.Client().CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=CPUsMissing,involvedObject.uid=" + string(pod.UID)})
		if err != nil {
			return err
		}
		if len(events.Items) == 0 {
			return errors.New("no event CPUsMissing")
		}
		note = events.Items[0].Message
		return nil
	})
	return note, err
}
