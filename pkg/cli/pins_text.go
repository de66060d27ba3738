// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodemap"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
	"corepin.dev/corepin/pkg/vmi"
)

// pinsReported gives the pins of the cluster's dedicated VMs that run, by name and node.
func pinsReported(cluster Cluster, now time.Time) []*pinning {
	reports := map[string]*v1alpha1.NodeCPU{}
	for i := range cluster.Reports {
		reports[cluster.Reports[i].Name] = &cluster.Reports[i]
	}
	podNamed := cluster.podsByName()
	var all []*pinning
	for i := range cluster.Pods {
		pod := &cluster.Pods[i]
		l, ok := launcher.Of(pod)
		if !ok || !l.Dedicated || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		p := &pinning{vm: qualified(l.VMI.Namespace, l.VMI.Name), namespace: l.VMI.Namespace, node: pod.Spec.NodeName,
			kind: vmi.KindVMI, name: l.VMI.Name, labels: pod.Labels}
		report := reports[pod.Spec.NodeName]
		if report != nil {
			since, silent := nodereport.Silence(report, podNamed, now)
			if silent {
				p.silence = nodereport.NotHeard(since)
			}
		}
		p.err = p.read(pod, l, report)
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pinning) int {
		return cmp.Or(strings.Compare(a.vm, b.vm), strings.Compare(a.node, b.node))
	})
	return all
}

// read takes a pod's grant and pins out of its node's report.
func (p *pinning) read(pod *corev1.Pod, l launcher.Launcher, report *v1alpha1.NodeCPU) error {
	if report == nil {
		return fmt.Errorf("there is no NodeCPU of node %s; is corepin-agent running there?", p.node)
	}
	var err error
	if p.host, err = nodereport.Topology(&report.Status); err != nil {
		return fmt.Errorf("reading NodeCPU %s: %w", p.node, err)
	}
	grants, err := nodereport.Granted(report)
	if err != nil {
		return err
	}
	// A report that Granted reads has no other list that is not one.
	p.reserved, _ = cpuset.Parse(report.Status.ReservedCPUs)
	p.granted = grants[pod.UID][l.Compute]
	if p.granted.IsEmpty() {
		causes := launcher.Problems(pod)
		switch {
		case p.silence != "":
			return fmt.Errorf("node %s is %s, and as of then its kubelet had granted the VM's container %s no CPUs", p.node, p.silence, l.Compute)
		case len(causes) == 0:
			causes = []string{"the kubelet granted none"}
		}
		return fmt.Errorf("the VM asked dedicated CPUs, and its container %s has none: %s", l.Compute, strings.Join(causes, "; "))
	}
	text := ""
	for _, grant := range report.Status.Granted {
		if grant.PodUID == pod.UID {
			text = grant.Pins
			p.exclusive = exclusiveIn(report, grant)
			p.waits, err = nodereport.ParseWaits(grant.Waits)
		}
	}
	if err != nil {
		return err
	}
	if p.vcpus, p.pins, err = placement.ParseText(text); err != nil {
		return err
	}
	if len(p.pins.VCPUs) == 0 {
		return errors.New("nothing is pinned yet; the events of pod " + nameOf(pod) + " say why")
	}
	return p.problem(report)
}

// problem says what is wrong with reported pins.
func (p *pinning) problem(report *v1alpha1.NodeCPU) error {
	for i, cpus := range p.pins.VCPUs {
		outside := cpus.Minus(p.granted)
		if !outside.IsEmpty() {
			return fmt.Errorf("vCPU %d may run on CPU %s, which is not granted (%s)", p.vcpus[i], outside, p.granted)
		}
	}
	drifted := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionDrifted)
	if drifted != nil && drifted.Status == metav1.ConditionTrue && names(drifted.Message, p.vm) {
		return errors.New(drifted.Message)
	}
	return nil
}

// names reports whether a condition's message names a VM. vm is the name that this command prints, without namespace
// default.
func names(message, vm string) bool {
	for rest := message; ; {
		_, after, found := strings.Cut(rest, "VM "+fullName(vm))
		if !found {
			return false
		}
		if !strings.ContainsAny(after[:min(1, len(after))], "abcdefghijklmnopqrstuvwxyz0123456789-") {
			return true // not the beginning of a longer name
		}
		rest = after
	}
}

// fullName is the name of a VM as the agents write it.
func fullName(vm string) string {
	if strings.Contains(vm, "/") {
		return vm
	}
	return metav1.NamespaceDefault + "/" + vm
}

// print writes the pins for people.
func (p *pinning) print(out *printer) {
	out.printf("%s on %s: granted CPUs %s\n", p.vm, cmp.Or(p.node, "the machine"), cmp.Or(p.granted.String(), "none"))
	if p.silence != "" {
		out.printf("  note: node %s is %s; what follows is as of then\n", p.node, p.silence)
	}
	if p.err != nil {
		out.printf("  problem: %v\n", p.err)
	}
	if p.exclusive != "" {
		out.printf("  exclusive: %s\n", p.exclusive)
	}
	for _, id := range p.waits.Longest(len(p.waits)) {
		out.printf("  note: vCPU %d waited %s of the last minute for its CPU\n", id, nodereport.Percent(p.waits[id]))
	}
	var holders []nodemap.Holder
	write := func(thread string, cpus cpuset.Set) {
		out.printf("  %-12s CPU %-8s %s\n", thread, cpus, p.whereabouts(cpus))
		holders = append(holders, nodemap.Holder{Name: thread, CPUs: cpus})
	}
	for i, cpus := range p.pins.VCPUs {
		write(fmt.Sprintf("vCPU %d", p.vcpus[i]), cpus)
	}
	shown := len(holders)
	if !p.pins.Emulator.IsEmpty() {
		write("emulator", p.pins.Emulator)
		shown = len(holders)
	}
	for _, thread := range slices.Sorted(maps.Keys(p.pins.IOThreads)) {
		write(fmt.Sprintf("IO thread %d", thread), p.pins.IOThreads[thread])
	}
	if p.host != nil && len(holders) > 0 {
		out.print("\n")
		out.print(nodemap.Draw(p.host, p.reserved.Minus(p.granted), p.drawn(holders, shown)))
	}
}

// drawn leaves out the IO threads that share CPUs with others: a map cell has room for one.
func (p *pinning) drawn(holders []nodemap.Holder, alone int) []nodemap.Holder {
	drawn := slices.Clone(holders[:alone])
	var taken cpuset.Set
	for _, holder := range drawn {
		taken = taken.Union(holder.CPUs)
	}
	for _, holder := range holders[alone:] {
		if !holder.CPUs.Overlaps(taken) {
			drawn, taken = append(drawn, holder), taken.Union(holder.CPUs)
		}
	}
	spare := p.granted.Minus(taken)
	if !spare.IsEmpty() {
		drawn = append(drawn, nodemap.Holder{Name: "granted and not used", CPUs: spare})
	}
	return drawn
}

// whereabouts says where in the machine CPUs are.
func (p *pinning) whereabouts(cpus cpuset.Set) string {
	if p.host == nil {
		return ""
	}
	var places []string
	for id := range cpus.All() {
		cpu, ok := p.host.CPU(id)
		if !ok {
			continue
		}
		place := fmt.Sprintf("core %d, NUMA node %d", cpu.Core, cpu.NUMANode)
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	return strings.Join(places, "; ")
}
