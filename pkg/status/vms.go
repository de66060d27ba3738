// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/verdict"
)

// refusals are the kubelet's reasons for a pod that it refused for its CPUs, memory or devices.
var refusals = []string{admission.ReasonTopologyAffinity, admission.ReasonSMTAlignment, admission.ReasonUnexpected, "OutOfcpu", "OutOfmemory"}

// vm is a pod that corepin places, by the name that people know it by.
type vm struct {
	pod *corev1.Pod
	launcher.Launcher
	// namespace and name are those of the VMI, or of the pod where there is none.
	name string
	// kind is what explain calls it.
	kind string
}

func (v *vm) String() string { return v.pod.Namespace + "/" + v.name }

func (v *vm) explain() string {
	return fmt.Sprintf("kubectl corepin explain %s %s -n %s", v.kind, v.name, v.pod.Namespace)
}

// vms are the pods with a schedulerName of corepin that ask for CPUs of their own, sorted by name.
func (s *survey) vms() []*vm {
	var all []*vm
	for i := range s.Pods {
		pod := &s.Pods[i]
		ours := slices.ContainsFunc(s.Schedulers, func(scheduler Scheduler) bool { return scheduler.Profile == pod.Spec.SchedulerName })
		l, is := launcher.Of(pod)
		if !ours || !l.Dedicated && !verdict.AsksCPUs(pod) {
			continue
		}
		v := &vm{pod: pod, Launcher: l, name: pod.Name, kind: "pod"}
		if is && l.VMI.Name != "" {
			v.name = l.VMI.Name
			v.kind = "vmi"
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b *vm) int { return strings.Compare(a.String()+a.pod.Name, b.String()+b.pod.Name) })
	return all
}

// predictions counts what kubelets did with the pods that are there.
func (s *survey) predictions() []Line {
	right := 0
	var wrong []*vm
	for _, v := range s.vms() {
		report := s.reports[v.pod.Spec.NodeName]
		switch {
		case report == nil:
		case v.pod.Status.Phase == corev1.PodFailed && slices.Contains(refusals, v.pod.Status.Reason):
			wrong = append(wrong, v)
		case !ended(v.pod) && report.Has(verdict.UIDOnNode(v.pod)):
			right++
		}
	}
	line := Line{Subject: "predictions", State: OK, Text: fmt.Sprintf("VMs with CPUs of their own: %d; refused by kubelets: 0", right)}
	if len(wrong) > 0 {
		first := wrong[0]
		line.State = Problem
		line.Text = fmt.Sprintf("VMs with CPUs of their own: %d; refused by kubelets: %d: %s by %s: %s", right, len(wrong), some(texts(wrong)),
			first.pod.Spec.NodeName, first.pod.Status.Reason)
		line.More = fmt.Sprintf("kubectl describe pod %s -n %s", first.pod.Name, first.pod.Namespace)
	}
	return []Line{line}
}

func texts(vms []*vm) []string {
	var all []string
	for _, v := range vms {
		all = append(all, v.String())
	}
	return all
}

// waiting says which VMs have found no node.
func (s *survey) waiting() []Line {
	var late, fresh []*vm
	for _, v := range s.vms() {
		switch {
		case v.pod.Spec.NodeName != "", ended(v.pod), len(v.pod.Spec.SchedulingGates) > 0:
		case s.Now.Sub(v.pod.CreationTimestamp.Time) > patience:
			late = append(late, v)
		default:
			fresh = append(fresh, v)
		}
	}
	var lines []Line
	if len(late) > 0 {
		since := late[0].pod.CreationTimestamp.Time
		for _, v := range late {
			if v.pod.CreationTimestamp.Time.Before(since) {
				since = v.pod.CreationTimestamp.Time
			}
		}
		lines = append(lines, Line{"waiting", Problem, fmt.Sprintf("%s found no node, the first since %s: %s",
			count(len(late), "VM"), nodereport.Moment(since), some(texts(late))), late[0].explain()})
	}
	if len(fresh) > 0 {
		lines = append(lines, Line{"waiting", Note, fmt.Sprintf("%s came in the last minute: %s", count(len(fresh), "VM"), some(texts(fresh))), fresh[0].explain()})
	}
	if len(lines) == 0 {
		lines = append(lines, Line{"waiting", OK, "no VM waits for a node", ""})
	}
	return lines
}

// exclusive says which dedicated VMs run without CPUs of their own, whoever placed them.
func (s *survey) exclusive() []Line {
	var without []*vm
	for i := range s.Pods {
		pod := &s.Pods[i]
		l, is := launcher.Of(pod)
		report := s.reports[pod.Spec.NodeName]
		if !is || !l.Dedicated || pod.Status.Phase != corev1.PodRunning || report == nil || report.Node == nil || s.silent[pod.Spec.NodeName] {
			continue
		}
		started := pod.Status.StartTime
		if report.Has(pod.UID) || started == nil || s.Now.Sub(started.Time) <= patience {
			continue
		}
		without = append(without, &vm{pod: pod, Launcher: l, name: l.VMI.Name, kind: "vmi"})
	}
	if len(without) == 0 {
		return []Line{{"exclusive", OK, "every dedicated VM that runs has CPUs of its own", ""}}
	}
	return []Line{{"exclusive", Problem, fmt.Sprintf("%s asked for CPUs of their own and run without: %s", count(len(without), "VM"), some(texts(without))),
		"kubectl corepin pins -n " + without[0].pod.Namespace}}
}
