// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/await"
)

// The mix of VMs that fills both machines: more than there is room for, of every size. The machine with NUMA
// nodes refuses odd ones, and ones that no NUMA node holds: what stock kube-scheduler knows nothing of.
const (
	fillSeed  = 7
	fillCount = 12
	fillMax   = 8
)

// settledFor is how long nothing must have happened for a mix to have settled. A pod without room is tried
// again after ten seconds at most.
const settledFor = 15 * time.Second

// outcome is what became of a mix.
type outcome struct {
	granted int // VMs with CPUs of their own
	cpus    int // their CPUs
	pages   int // their huge pages, in MiB
	vfs     int // their VFs
	waiting int
	refused map[string]int // by the kubelet's reason
}

func (o outcome) refusals() int {
	sum := 0
	for _, n := range o.refused {
		sum += n
	}
	return sum
}

// fillRow is a row of the table, and fillHead its head.
const (
	fillRow  = "%-10s %8d %8d %10d %8d %8d %8d %v\n"
	fillHead = "scheduler   granted     CPUs pages, MiB      VFs  waiting  refused\n"
)

func (o outcome) row(scheduler string) string {
	return fmt.Sprintf(fillRow, scheduler, o.granted, o.cpus, o.pages, o.vfs, o.waiting, o.refusals(), o.refused)
}

// fills gives the same mix to corepin-scheduler and to stock kube-scheduler, and counts what the kubelets
// refuse.
func (w *world) fills(ctx context.Context) {
	ginkgo.GinkgoHelper()
	random := rand.New(rand.NewPCG(fillSeed, 0))
	var vms []asked
	for range fillCount {
		vms = append(vms, asked{cpus: 1 + random.IntN(fillMax), decided: true})
	}
	w.fillsWith(ctx, vms)
}

// across are VMs that ask for what only both NUMA nodes of a machine have together. By count there is room for each.
var across = []asked{
	{cpus: 4, vfs: 3, decided: true},
	{cpus: 4, memory: "768Mi", pages: "2Mi", decided: true},
}

// fillsFurnished does the same with VMs of which half ask for VFs and half for huge pages. First come those that no NUMA node can
// hold: stock kube-scheduler finds both machines empty then.
func (w *world) fillsFurnished(ctx context.Context) {
	ginkgo.GinkgoHelper()
	_, err := sideBySide(func(node string) (string, error) {
		return "", w.furnish(ctx, node, furnished{policy: "single-numa-node"}.settings(node))
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	random := rand.New(rand.NewPCG(fillSeed, 0))
	vms := slices.Clone(across)
	for i := range fillCount {
		vm := asked{cpus: 1 + random.IntN(fillMax/2), decided: true}
		if i%2 == 0 {
			vm.vfs = 1 + random.IntN(2)
		}
		if i%4 < 2 {
			vm.memory = []string{"128Mi", "256Mi"}[random.IntN(2)]
			vm.pages = "2Mi"
		}
		vms = append(vms, vm)
	}
	w.fillsWith(ctx, vms)
}

func (w *world) fillsWith(ctx context.Context, vms []asked) {
	ginkgo.GinkgoHelper()
	corepin := w.fill(ctx, "corepin", vms)
	stock := w.fill(ctx, "default-scheduler", vms)
	table := fmt.Sprintf("VMs of %s:\n%s", vms, fillHead)
	table += corepin.row("corepin") + stock.row("stock")
	table += fmt.Sprintf("refusals: corepin %d, stock %d\n", corepin.refusals(), stock.refusals())
	ginkgo.AddReportEntry("the same mix through both schedulers", ginkgo.ReportEntryVisibilityAlways, table)
	gomega.Expect(corepin.refusals()).To(gomega.BeZero(), table)
	gomega.Expect(stock.refusals()).To(gomega.BeNumerically(">", 0), "the mix is too easy to prove anything:\n%s", table)
	// Which of them find room depends on the order in which they are tried, so that the CPUs are not compared.
	gomega.Expect(corepin.waiting).To(gomega.BeNumerically(">", 0), "there is room left:\n%s", table)
}

// fill creates the VMs at once, waits until each has its CPUs, is refused by its kubelet, or waits for room,
// and removes them.
func (w *world) fill(ctx context.Context, scheduler string, vms []asked) outcome {
	ginkgo.GinkgoHelper()
	var names []string
	for i := range vms {
		names = append(names, fmt.Sprintf("vmi-fill-%d", i))
	}
	ginkgo.DeferCleanup(func(ctx context.Context) error { return w.remove(ctx, names...) })
	for i, a := range vms {
		gomega.Expect(w.Apply(ctx, a.yaml(names[i], scheduler, ""))).To(gomega.Succeed())
	}
	var last outcome
	var since time.Time
	err := await.Every(ctx, glance, "the mix to settle with "+scheduler, limit, func(ctx context.Context) error {
		now, err := w.outcomeOf(ctx, names)
		if err != nil {
			since = time.Time{}
			return err
		}
		if since.IsZero() || fmt.Sprint(now) != fmt.Sprint(last) {
			last, since = now, time.Now()
		}
		if time.Since(since) < settledFor {
			return fmt.Errorf("%+v has changed less than %s ago", now, settledFor)
		}
		return nil
	})
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	say("%s: %+v", scheduler, last)
	gomega.Expect(w.disjoint(ctx)).To(gomega.Succeed())
	gomega.Expect(w.remove(ctx, names...)).To(gomega.Succeed())
	return last
}

// outcomeOf counts what became of VMs; an error says which is still on its way.
func (w *world) outcomeOf(ctx context.Context, names []string) (outcome, error) {
	result := outcome{refused: map[string]int{}}
	checkpoints := map[string]checkpoint{}
	for name, m := range w.machines {
		state, err := readCheckpoint(ctx, m)
		if err != nil {
			return result, err
		}
		checkpoints[name] = state
	}
	for _, name := range names {
		pod, err := w.PodOf(ctx, name)
		if err != nil {
			return result, err
		}
		granted, err := checkpoints[pod.Spec.NodeName].granted(string(pod.UID))
		switch {
		case err != nil:
			return result, err
		case pod.Status.Phase == corev1.PodFailed:
			result.refused[pod.Status.Reason]++
		case len(granted) > 0:
			result.granted++
			result.cpus += granted["compute"].Len()
			result.addFurniture(pod)
		case unschedulable(pod):
			result.waiting++
		default:
			return result, fmt.Errorf("pod %s of %s is %s on node %q", pod.Name, name, pod.Status.Phase, pod.Spec.NodeName)
		}
	}
	return result, nil
}

// addFurniture counts what a pod holds besides CPUs: what it asks for.
func (o *outcome) addFurniture(pod *corev1.Pod) {
	for _, container := range pod.Spec.Containers {
		pages := container.Resources.Limits[smallPage]
		devices := container.Resources.Limits[vf]
		o.pages += int(pages.Value() >> 20)
		o.vfs += int(devices.Value())
	}
}

// unschedulable reports whether the scheduler has looked at a pod and found no room.
func unschedulable(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
	})
}

// disjoint reports whether each CPU of a machine is granted once or is in the shared pool.
func (w *world) disjoint(ctx context.Context) error {
	for _, m := range w.machines {
		state, err := readCheckpoint(ctx, m)
		if err != nil {
			return err
		}
		used, err := cpuset.Parse(state.DefaultCPUSet)
		if err != nil {
			return err
		}
		for pod := range state.Entries {
			granted, err := state.granted(pod)
			if err != nil {
				return err
			}
			for container, cpus := range granted {
				if cpus.Overlaps(used) {
					return fmt.Errorf("CPUs %s of %s in pod %s on %s are somebody else's too: %+v", cpus, container, pod, m.Name(), state)
				}
				used = used.Union(cpus)
			}
		}
		if used.Len() != m.Shape().CPUs() {
			return fmt.Errorf("the checkpoint of %s has %d of %d CPUs: %+v", m.Name(), used.Len(), m.Shape().CPUs(), state)
		}
	}
	return nil
}
