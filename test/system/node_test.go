// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
)

// knowsItsNodes holds each report against the kubelet and the kernel of its machine.
func (w *world) knowsItsNodes(ctx context.Context) {
	ginkgo.GinkgoHelper()
	for name, m := range w.machines {
		gomega.Expect(w.awaitTrueReport(ctx, name)).To(gomega.Succeed())
		metrics, err := w.askKubelet(ctx, m, "/metrics")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(string(metrics)).To(gomega.MatchRegexp(`(?m)^kubelet_pod_resources_endpoint_requests_get_allocatable\{.*\} [1-9]`),
			"nobody asked %s's kubelet over its podresources socket", name)
		report, err := w.Report(ctx, name)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		for _, condition := range []string{v1alpha1.ConditionCPUManagerRunning, v1alpha1.ConditionExact} {
			gomega.Expect(conditionOf(report, condition)).To(gomega.Equal(metav1.ConditionTrue), "%s of %s: %+v", condition, name, report.Status.Conditions)
		}
		say("%s: %s", name, summary(report))
	}
}

// awaitTrueReport waits until a node's report says what its kubelet and its kernel say.
func (w *world) awaitTrueReport(ctx context.Context, name string) error {
	m := w.machines[name]
	return await.Every(ctx, pause, "the report of "+name+" to be true", limit, func(ctx context.Context) error {
		report, err := w.Report(ctx, name)
		if err != nil {
			return err
		}
		// The cheapest look first: the others wait for it.
		if err := agreesWithCheckpoint(ctx, m, report); err != nil {
			return err
		}
		if err := w.agreesWithConfigz(ctx, m, report); err != nil {
			return err
		}
		return agreesWithKernel(ctx, m, report)
	})
}

func (w *world) agreesWithConfigz(ctx context.Context, m *machine.Machine, report *v1alpha1.NodeCPU) error {
	config, err := w.configz(ctx, m)
	if err != nil {
		return err
	}
	node, err := w.Client().CoreV1().Nodes().Get(ctx, m.Name(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	status := report.Status
	errs := []error{
		equal("CPU manager policy", status.CPUManager.Policy, config.CPUManagerPolicy),
		equal("topology manager policy", status.TopologyManager.Policy, config.TopologyManagerPolicy),
		equal("topology manager scope", status.TopologyManager.Scope, config.TopologyManagerScope),
		equal("memory manager policy", status.MemoryManager.Policy, config.MemoryManagerPolicy),
		equal("kubelet version", status.KubeletVersion, node.Status.NodeInfo.KubeletVersion),
		equalCPUs("reserved CPUs", status.ReservedCPUs, config.ReservedSystemCPUs),
		sameOptions(status.CPUManager.Options, config.CPUManagerPolicyOptions),
		sameOptions(status.TopologyManager.Options, config.TopologyManagerPolicyOptions),
	}
	return errors.Join(errs...)
}

func agreesWithCheckpoint(ctx context.Context, m *machine.Machine, report *v1alpha1.NodeCPU) error {
	state, err := readCheckpoint(ctx, m)
	if err != nil {
		return err
	}
	errs := []error{equalCPUs("shared pool", report.Status.SharedCPUs, state.DefaultCPUSet)}
	reported := 0
	for _, pod := range report.Status.Granted {
		for _, container := range pod.Containers {
			reported++
			errs = append(errs, equalCPUs("CPUs of "+container.Name, container.CPUs, state.Entries[string(pod.PodUID)][container.Name]))
		}
	}
	granted := 0
	for _, containers := range state.Entries {
		granted += len(containers)
	}
	return errors.Join(append(errs, equal("containers with CPUs of their own", reported, granted))...)
}

// agreesWithKernel compares core by core with what lscpu reads in the machine.
func agreesWithKernel(ctx context.Context, m *machine.Machine, report *v1alpha1.NodeCPU) error {
	output, err := m.Run(ctx, "lscpu", "--parse=CPU,CORE,SOCKET,NODE")
	if err != nil {
		return err
	}
	cores := map[string][]string{} // "core,socket,node" to CPUs
	for _, line := range lines(output) {
		if fields := strings.SplitN(line, ",", 2); fields[0] != "" && !strings.HasPrefix(line, "#") {
			cores[fields[1]] = append(cores[fields[1]], fields[0])
		}
	}
	want := map[string]bool{} // "node: CPUs"
	for place, cpus := range cores {
		set, err := cpuset.Parse(strings.Join(cpus, ","))
		if err != nil {
			return err
		}
		want[place[strings.LastIndex(place, ",")+1:]+": "+set.String()] = true
	}
	for _, core := range report.Status.Cores {
		line := fmt.Sprintf("%d: %s", core.NUMANode, core.CPUs)
		if !want[line] {
			return fmt.Errorf("the report has core %q, the kernel has %v", line, want)
		}
	}
	return errors.Join(equal("cores", len(report.Status.Cores), len(want)),
		equal("cores of the machine", len(want), m.Shape().NUMANodes*m.Shape().Cores))
}

// followsTheGate switches feature gate CPUManager off and on, as an administrator would.
func (w *world) followsTheGate(ctx context.Context) {
	ginkgo.GinkgoHelper()
	gomega.Expect(w.awaitLabels(ctx, true)).To(gomega.Succeed())
	gomega.Expect(w.SetGates(ctx, "DataVolumes")).To(gomega.Succeed())
	gomega.Expect(w.awaitLabels(ctx, false)).To(gomega.Succeed())
	gomega.Expect(w.SetGates(ctx, "DataVolumes,CPUManager")).To(gomega.Succeed())
	gomega.Expect(w.awaitLabels(ctx, true)).To(gomega.Succeed())
}

// awaitLabels waits until every node has both labels, or none.
func (w *world) awaitLabels(ctx context.Context, want bool) error {
	return await.Every(ctx, pause, fmt.Sprintf("labels on the nodes: %t", want), limit, func(ctx context.Context) error {
		for name := range w.machines {
			node, err := w.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, label := range []string{"cpumanager", "kubevirt.io/cpumanager"} {
				if value, ok := node.Labels[label]; ok != want || want && value != "true" {
					return fmt.Errorf("node %s has labels %v", name, node.Labels)
				}
			}
		}
		return nil
	})
}

func conditionOf(report *v1alpha1.NodeCPU, name string) metav1.ConditionStatus {
	for _, condition := range report.Status.Conditions {
		if condition.Type == name {
			return condition.Status
		}
	}
	return metav1.ConditionUnknown
}

func summary(report *v1alpha1.NodeCPU) string {
	s := report.Status
	return fmt.Sprintf("kubelet %s, %d CPUs on %d NUMA nodes, %d cores, reserved %s, shared %s, CPU manager %s %v, topology manager %s",
		s.KubeletVersion, s.Summary.CPUs, s.Summary.NUMANodes, len(s.Cores), s.ReservedCPUs, s.SharedCPUs, s.CPUManager.Policy, s.CPUManager.Options, s.TopologyManager.Policy)
}

func equal[T comparable](what string, got, want T) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%s: corepin says %v, the machine %v", what, got, want)
}

// equalCPUs compares two lists of CPUs, however they are written.
func equalCPUs(what, got, want string) error {
	a, errA := cpuset.Parse(got)
	b, errB := cpuset.Parse(want)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	return equal(what, a.String(), b.String())
}
