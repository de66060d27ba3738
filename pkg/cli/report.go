// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/objects"
)

// minimalReport is the least that a NodeCPU has to say. A field that is missing means none, or false.
const minimalReport = `apiVersion: corepin.dev/v1alpha1
kind: NodeCPU
metadata: {name: n1}
status:
  kubeletVersion: v1.36.3
  cpuManager: {policy: static}
  topologyManager: {policy: restricted}
  reservedCPUs: "0,4"
  sharedCPUs: "0-7"
  numaNodes: [{id: 0}]
  cores:
  - {id: 0, cpus: "0,4", numaNode: 0}
  - {id: 1, cpus: "1,5", numaNode: 0}
  - {id: 2, cpus: "2,6", numaNode: 0}
  - {id: 3, cpus: "3,7", numaNode: 0}
`

// addReport adds a node. One whose report cannot be used is added too: nothing is known of it.
func (s *snapshot) addReport(o *objects.Object) error {
	report := &v1alpha1.NodeCPU{}
	unknown, err := o.Decode(report)
	if err == nil && report.Status.Format <= v1alpha1.FormatVersion { // nodereport refuses a newer one in better words
		err = oneLine(unknown)
	}
	m := &machine{name: o.Name}
	if err == nil {
		m = machineOf(report)
		err = m.complete(report)
	}
	if err != nil {
		m.report = nodereport.Unusable(nodereport.Unreadable, err)
		err = o.WrapAt(reportPath(report, err), fmt.Errorf("%s: %w", called(o), err))
	}
	failed := s.addMachine(m)
	if failed != nil {
		return o.Wrap(failed)
	}
	return err
}

// complete says why the report of a machine cannot be used; nil where it can be. To leave sharedCPUs out is a mistake
// that is easily made by hand: no CPU would be free, and nobody would have them.
func (m *machine) complete(report *v1alpha1.NodeCPU) error {
	status := &report.Status
	node := m.report.Node
	switch {
	case node == nil && len(status.Cores) == 0 && status.Format <= v1alpha1.FormatVersion:
		return &objects.FieldError{Path: "status.cores", Problem: "status.cores is missing; kubectl corepin fit --help shows what a NodeCPU has to say"}
	case node == nil:
		return errors.New(m.report.Why)
	case node.CPUManager.Policy != cpumanager.PolicyStatic || status.SharedCPUs != "" || len(status.Granted) > 0:
		return nil
	case node.Topology.CPUs().Minus(node.Reserved).IsEmpty():
		return nil
	}
	return &objects.FieldError{Path: "status.sharedCPUs", Problem: fmt.Sprintf("status.sharedCPUs is missing: the CPUs that no container has for its own, "+
		"those reserved included; if they are all, %q", node.Topology.CPUs())}
}

// reportField is a field as the messages of nodereport name it.
var reportField = regexp.MustCompile(`\b(?:core (\d+)|kubeletVersion|cpuManager|topologyManager|reservedCPUs|sharedCPUs|granted)\b`)

// reportPath is the field that an error of a report is about; "" where it is not known.
func reportPath(report *v1alpha1.NodeCPU, err error) string {
	var field *objects.FieldError
	if errors.As(err, &field) {
		return field.Path
	}
	m := reportField.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		return ""
	case m[1] == "":
		return "status." + m[0]
	}
	i := slices.IndexFunc(report.Status.Cores, func(c v1alpha1.Core) bool { return fmt.Sprint(c.ID) == m[1] })
	return fmt.Sprintf("status.cores[%d]", max(i, 0))
}

func (s *snapshot) addMachine(m *machine) error {
	if m.name == "" {
		return errors.New("a NodeCPU's metadata.name is missing; it is the name of the node")
	}
	if s.byName[m.name] != nil {
		return fmt.Errorf("a second NodeCPU of node %s; leave one out", m.name)
	}
	m.names = s.names
	s.machines = append(s.machines, m)
	s.byName[m.name] = m
	return nil
}

// machineOf reads a report. One that was written by hand has no conditions, and counts as exact.
func machineOf(report *v1alpha1.NodeCPU) *machine {
	r := nodereport.Read(report)
	exact := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionExact)
	if exact == nil && r.State == nodereport.Inexact {
		r.State = nodereport.Exact
		r.Why = ""
	}
	m := &machine{name: report.Name, report: r, source: report, others: othersIn(report), tuning: report.Status.HostTuning}
	m.since, m.silent = nodereport.Silence(report, nil, time.Time{})
	restart := meta.FindStatusCondition(report.Status.Conditions, v1alpha1.ConditionRestartSafe)
	if restart != nil && restart.Status != metav1.ConditionTrue {
		m.restart = restart.Message
	}
	return m
}
