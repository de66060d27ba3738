// SPDX-License-Identifier: Apache-2.0

//go:build system

package system

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/machine"
)

// fault is something that happens to a machine with VMs on it.
type fault struct {
	name string
	do   func(ctx context.Context, w *world, m *machine.Machine) error
	// moves is set where the VMs get other CPUs. Otherwise they must keep theirs.
	moves bool
}

// faults leave the VMs running.
var faults = []fault{
	{name: "kubelet killed", do: func(ctx context.Context, w *world, m *machine.Machine) error {
		return errors.Join(m.KillKubelet(ctx), w.startKubelet(ctx, m, kubelets[m.Name()]))
	}},
	{name: "kubelet's state deleted", moves: true, do: func(ctx context.Context, w *world, m *machine.Machine) error {
		return errors.Join(m.StopKubelet(ctx), m.Forget(ctx), w.startKubelet(ctx, m, kubelets[m.Name()]))
	}},
	{name: "containerd killed", do: func(ctx context.Context, w *world, m *machine.Machine) error {
		return errors.Join(m.KillContainerd(ctx), m.StartContainerd(ctx))
	}},
	{name: "agent killed", do: func(ctx context.Context, w *world, m *machine.Machine) error {
		return w.killAgent(ctx, m)
	}},
	{name: "scheduler killed", do: func(ctx context.Context, w *world, m *machine.Machine) error {
		return w.killScheduler(ctx, m)
	}},
	{name: "API server away for a minute", do: func(ctx context.Context, w *world, m *machine.Machine) error {
		return w.withoutAPIServer(ctx, time.Minute)
	}},
	{name: "clock an hour ahead", do: func(ctx context.Context, w *world, m *machine.Machine) error { return jump(ctx, m, "+") }},
	{name: "clock an hour back", do: func(ctx context.Context, w *world, m *machine.Machine) error { return jump(ctx, m, "-") }},
}

// jump sets a machine's clock an hour ahead ("+") or back ("-").
func jump(ctx context.Context, m *machine.Machine, direction string) error {
	_, err := m.Shell(ctx, "date -s @$(($(date +%s) "+direction+" 3600))")
	return err
}

// signalAgent sends a signal to the agent of a machine.
func signalAgent(ctx context.Context, m *machine.Machine, signal string) error {
	_, err := m.Run(ctx, "busybox", "killall", "-"+signal, "corepin-agent")
	return err
}

// killAgent kills the agent and waits until the kubelet has started it again.
func (w *world) killAgent(ctx context.Context, m *machine.Machine) error {
	before, err := w.agentPod(ctx, m.Name())
	if err != nil {
		return err
	}
	if err := signalAgent(ctx, m, "KILL"); err != nil {
		return err
	}
	return await.Every(ctx, glance, "the agent on "+m.Name()+" to be started again", limit, func(ctx context.Context) error {
		after, err := w.agentPod(ctx, m.Name())
		if err != nil {
			return err
		}
		if restarts(after) <= restarts(before) {
			return fmt.Errorf("containers: %v", after.Status.ContainerStatuses)
		}
		return nil
	})
}

// killScheduler kills the scheduler, which its Deployment starts again, and makes a VM before the new one leads.
func (w *world) killScheduler(ctx context.Context, m *machine.Machine) error {
	const name = "vmi-meanwhile"
	if err := errors.Join(w.Scheduler.Kill(), w.Scheduler.Restart()); err != nil {
		return err
	}
	_, err := w.grant(ctx, name, vmiYAML(name, "corepin", m.Name(), 2), m.Name())
	return errors.Join(err, w.remove(ctx, name))
}

func restarts(pod *corev1.Pod) (sum int32) {
	for _, status := range pod.Status.ContainerStatuses {
		sum += status.RestartCount
	}
	return sum
}

// withoutAPIServer kills the API server and starts it again after a while, and with it whoever has ended for
// want of it: a scheduler that loses its lease does, and its Deployment starts another.
func (w *world) withoutAPIServer(ctx context.Context, away time.Duration) error {
	if err := w.Process("kube-apiserver").Kill(); err != nil {
		return err
	}
	select {
	case <-time.After(away):
	case <-ctx.Done():
	}
	if err := w.Process("kube-apiserver").Restart(); err != nil {
		return err
	}
	err := await.Every(ctx, glance, "the API server to be back", limit, func(ctx context.Context) error {
		_, err := w.Client().Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
	for _, p := range w.Processes() {
		if !p.Running() {
			err = errors.Join(err, p.Restart())
		}
	}
	return err
}

// survives does to a machine whatever can happen, with VMs on it, and holds the invariants after each; and all
// the while, that the report tells no less than it did and the labels stay.
func (w *world) survives(ctx context.Context) {
	ginkgo.GinkgoHelper()
	m := w.machines[numaMachine]
	vms := w.threeVMs(ctx)
	// The CPUs of the first one are free then, and a kubelet that begins anew gives them to the others.
	gomega.Expect(w.remove(ctx, vms[0].name)).To(gomega.Succeed())
	vms = vms[1:]
	gomega.Expect(w.awaitInvariants(ctx, vms)).To(gomega.Succeed())
	stop := w.watchLoss(ctx, m.Name())
	var table strings.Builder
	defer func() {
		ginkgo.AddReportEntry("faults, and the VMs' CPUs after each", ginkgo.ReportEntryVisibilityAlways, table.String())
	}()
	for _, f := range faults {
		start := time.Now()
		was := grants(vms)
		gomega.Expect(f.do(ctx, w, m)).To(gomega.Succeed(), f.name)
		gomega.Expect(w.awaitReady(ctx, m.Name(), time.Time{})).To(gomega.Succeed(), f.name)
		gomega.Expect(w.awaitInvariants(ctx, vms)).To(gomega.Succeed(), f.name)
		fmt.Fprintf(&table, "%-30s %-14s → %-14s all is well after %s\n", f.name, was, grants(vms), since(start))
		gomega.Expect(grants(vms) != was).To(gomega.Equal(f.moves), "%s: %s became %s", f.name, was, grants(vms))
		if f.moves {
			gomega.Expect(w.awaitTold(ctx, vms, &table)).To(gomega.Succeed(), f.name)
		}
	}
	gomega.Expect(stop()).To(gomega.Succeed())
	w.resets(ctx, m, vms, &table)
}

// awaitTold waits until each VMI has an event that its threads were moved to the CPUs that it has now.
func (w *world) awaitTold(ctx context.Context, vms []vm, table *strings.Builder) error {
	for _, v := range vms {
		selector := "reason=Moved,involvedObject.kind=VirtualMachineInstance,involvedObject.name=" + v.name
		err := await.Every(ctx, glance, "an event that tells of the move of "+v.name, limit, func(ctx context.Context) error {
			events, err := w.Client().CoreV1().Events(v.pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: selector})
			if err != nil {
				return err
			}
			for _, event := range events.Items {
				if strings.Contains(event.Message, "the kubelet granted CPUs "+v.granted.String()+" in place of ") {
					fmt.Fprintf(table, "  %s: %s\n", v.name, event.Message)
					return nil
				}
			}
			return fmt.Errorf("%d events, none of CPUs %s: %v", len(events.Items), v.granted, events.Items)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// threeVMs have CPUs. The last two have guests, and of the first one only its CPUs matter.
func (w *world) threeVMs(ctx context.Context) []vm {
	ginkgo.GinkgoHelper()
	const first = "vmi-fault-0"
	ginkgo.DeferCleanup(func(ctx context.Context) error { return w.remove(ctx, first) })
	v, err := w.grant(ctx, first, asked{cpus: 2, decided: true}.yaml(first, "corepin", numaMachine), numaMachine)
	gomega.Expect(err).NotTo(gomega.HaveOccurred())
	vms := []vm{v}
	for i, size := range []int{2, 4} {
		name := fmt.Sprintf("vmi-fault-%d", i+1)
		v := w.create(ctx, name, vmiYAML(name, "corepin", numaMachine, size))
		gomega.Expect(w.startGuest(ctx, v)).To(gomega.Succeed())
		vms = append(vms, v)
	}
	return vms
}

func grants(vms []vm) string {
	var all []string
	for _, v := range vms {
		all = append(all, v.granted.String())
	}
	return strings.Join(all, " ")
}

// resets pulls the plug: the VMs are lost, their CPUs are free again, and a new VM gets what is predicted.
func (w *world) resets(ctx context.Context, m *machine.Machine, vms []vm, table *strings.Builder) {
	ginkgo.GinkgoHelper()
	start := time.Now()
	gomega.Expect(m.Reset(ctx)).To(gomega.Succeed())
	gomega.Expect(m.StartContainerd(ctx)).To(gomega.Succeed())
	gomega.Expect(w.startKubelet(ctx, m, kubelets[m.Name()])).To(gomega.Succeed())
	gomega.Expect(w.awaitAgent(ctx, m.Name())).To(gomega.Succeed())
	for _, v := range vms {
		gomega.Expect(w.remove(ctx, v.name)).To(gomega.Succeed())
	}
	v := w.create(ctx, "vmi-after-reset", vmiYAML("vmi-after-reset", "corepin", m.Name(), 4))
	gomega.Expect(w.startGuest(ctx, v)).To(gomega.Succeed())
	gomega.Expect(w.awaitInvariants(ctx, []vm{v})).To(gomega.Succeed())
	fmt.Fprintf(table, "%-30s %-14s → %-14s a new VM is pinned after %s\n", "machine reset", grants(vms), v.granted, since(start))
}

// awaitInvariants waits until the VMs hold CPUs that no other holds, run there and nowhere else, and are
// reported as they are; and every node has its label. It notes in vms what they are granted.
func (w *world) awaitInvariants(ctx context.Context, vms []vm) error {
	if err := w.awaitLabels(ctx, true); err != nil {
		return err
	}
	for name := range w.machines {
		if err := w.awaitTrueReport(ctx, name); err != nil {
			return err
		}
	}
	return await.Every(ctx, glance, "the invariants to hold", limit, func(ctx context.Context) error {
		if err := w.disjoint(ctx); err != nil {
			return err
		}
		for i := range vms {
			if err := w.inPlace(ctx, &vms[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// inPlace holds five things of a VM against each other: the kubelet's grant, its container's cgroup, libvirt,
// the threads of its guest, and that its pod has been neither refused nor replaced.
func (w *world) inPlace(ctx context.Context, v *vm) error {
	pod, err := w.PodOf(ctx, v.name)
	if err != nil {
		return err
	}
	if pod.UID != v.pod.UID || pod.Status.Phase != corev1.PodRunning {
		return fmt.Errorf("pod %s is %s (%s): %s", pod.Name, pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
	}
	state, err := readCheckpoint(ctx, v.node)
	if err != nil {
		return err
	}
	granted, err := state.granted(string(pod.UID))
	if err != nil {
		return err
	}
	if cpus := granted["compute"]; cpus.Len() != v.granted.Len() {
		return fmt.Errorf("%s is granted %q, wants %d", v.name, cpus, v.granted.Len())
	}
	v.granted = granted["compute"]
	cgroup, err := cgroupOf(pod, "compute")
	if err != nil {
		return err
	}
	cpus, err := v.node.ReadFile(ctx, cgroup+"/cpuset.cpus")
	if err != nil {
		return err
	}
	if allowed, err := cpuset.Parse(strings.TrimSpace(string(cpus))); err != nil || allowed != v.granted {
		return fmt.Errorf("%s is granted %s, its cgroup has %q (%w)", v.name, v.granted, cpus, err)
	}
	return w.pinned(ctx, *v)
}

// watchLoss polls a node's report and labels until the function that it returns is called. That function
// returns an error if a report or label was ever missing: no fault is a reason to remove one.
func (w *world) watchLoss(ctx context.Context, name string) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		looks := 0
		err := await.Every(ctx, glance, "a loss", time.Hour, func(ctx context.Context) error {
			report, err := w.Report(ctx, name)
			if err != nil {
				return err // the API server is away, or has lost the report, which the invariants would tell
			}
			node, err := w.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			looks++
			if s := report.Status; s.CPUManager.Policy != "static" || len(s.Cores) == 0 || s.SharedCPUs == "" || node.Labels["cpumanager"] != "true" {
				return await.Stop(fmt.Errorf("after %d looks: labels %v, report %+v", looks, node.Labels, s))
			}
			return errors.New("no loss so far")
		})
		if ctx.Err() != nil && looks > 0 {
			err = nil
		}
		ended <- err
	}()
	return func() error {
		cancel()
		return <-ended
	}
}
