// SPDX-License-Identifier: Apache-2.0

// Package nodereport is both ends of a NodeCPU report: what the agent writes into one, and what the
// scheduler reads out of one.
//
// Both live here so that they cannot disagree. What SetTopology and SetGranted write, Topology and
// Granted read back equal, and a test checks that.
//
// Reading is strict. A report is data from another process, perhaps of another version. These are errors:
// a CPU list that does not parse, a CPU that the report's own topology does not have, a CPU held by two
// pods, and a report larger than any machine needs (limits.go). A scheduler that guessed would bind a VM
// to a node that refuses it. Read turns an error into the State of the report, so nobody can overlook it.
//
// Memory and devices that a report does not have, or does not have for sure, are not errors either: the node has none then,
// and pods that ask for them are not exact.
//
// Two facts of the kubelet look like errors and are not (pkg/kubelet/cm/cpumanager, v1.36.3). Containers
// of one pod may hold the same CPU, because an app container takes over the CPUs of init containers that
// ended before it. And a CPU may be in neither the shared pool nor any grant, because the kubelet writes
// its state in two steps. Such a CPU counts as used.
package nodereport

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/kubelet/topologymanager"
)

// ErrNewer is wrapped by the errors of a report whose format is newer than this package. Its fields may
// have another meaning, so its reader needs an update.
var ErrNewer = errors.New("the report is of a newer corepin")

// Owner is the UID of the Node that a report is about; empty where the report does not say. A report
// outlives its Node until it is garbage collected. A Node that comes back under the same name may be
// another machine.
func Owner(nc *v1alpha1.NodeCPU) types.UID {
	for _, owner := range nc.OwnerReferences {
		if owner.Kind == "Node" && owner.APIVersion == corev1.SchemeGroupVersion.String() {
			return owner.UID
		}
	}
	return ""
}

// Node decodes a report into everything that the kubelet's decision depends on. Errors name the node and
// the field. Nothing in a report with an error can be relied on.
func Node(nc *v1alpha1.NodeCPU) (*admission.Node, error) {
	d, err := decode(&nc.Status)
	if err != nil {
		return nil, fmt.Errorf("reading node report of %s: %w", nc.Name, err)
	}
	return d.node, nil
}

// decoded is a node and what its pods hold.
type decoded struct {
	node    *admission.Node
	cpus    map[types.UID]map[string]cpuset.Set
	memory  heldMemory
	devices heldDevices
}

// held is what pods hold besides CPUs.
func (d *decoded) held() map[types.UID]admission.Held {
	pods := make(map[types.UID]admission.Held, max(len(d.memory), len(d.devices)))
	for uid, blocks := range d.memory {
		pods[uid] = admission.Held{Memory: blocks}
	}
	for uid, devices := range d.devices {
		held := pods[uid]
		held.Devices = devices
		pods[uid] = held
	}
	return pods
}

func decode(status *v1alpha1.NodeCPUStatus) (*decoded, error) {
	if err := readable(status); err != nil {
		return nil, err
	}
	if status.CPUManager.Policy == "" {
		return nil, errors.New("cpuManager.policy is empty: the agent on the node has not read the kubelet's state yet")
	}
	topology, err := Topology(status)
	if err != nil {
		return nil, err
	}
	node := &admission.Node{
		Topology: topology, MemoryManager: status.MemoryManager.Policy, PodLevelResourceManagers: status.PodLevelResourceManagers,
	}
	if node.Minor, err = minor(status.KubeletVersion); err != nil {
		return nil, err
	}
	if node.CPUManager, err = cpumanager.Parse(status.CPUManager.Policy, status.CPUManager.Options); err != nil {
		return nil, fmt.Errorf("cpuManager: %w", err)
	}
	manager := status.TopologyManager
	if node.TopologyManager, err = topologymanager.Parse(manager.Policy, manager.Scope, manager.Options); err != nil {
		return nil, fmt.Errorf("topologyManager: %w", err)
	}
	if node.Reserved, err = onlineCPUs("reservedCPUs", status.ReservedCPUs, topology); err != nil {
		return nil, err
	}
	if node.Shared, err = onlineCPUs("sharedCPUs", status.SharedCPUs, topology); err != nil {
		return nil, err
	}
	d := &decoded{node: node}
	if d.cpus, err = granted(status, topology); err != nil {
		return nil, err
	}
	if node.Memory, d.memory, err = decodeMemory(status, topology); err != nil {
		return nil, err
	}
	if node.Devices, d.devices, err = decodeDevices(status, topology); err != nil {
		return nil, err
	}
	return d, nil
}

// readable checks that a report is of a known format and within limits.
func readable(status *v1alpha1.NodeCPUStatus) error {
	if err := checkFormat(status); err != nil {
		return err
	}
	return withinLimits(status)
}

func checkFormat(s *v1alpha1.NodeCPUStatus) error {
	if s.Format > v1alpha1.FormatVersion {
		return fmt.Errorf("%w: its format is %d, the newest known here is %d", ErrNewer, s.Format, v1alpha1.FormatVersion)
	}
	return nil
}

// minor is 36 for "v1.36.3" and for what distributions append to it.
func minor(kubeletVersion string) (int, error) {
	v, err := version.ParseGeneric(kubeletVersion)
	if err != nil {
		return 0, fmt.Errorf("kubeletVersion: %w", err)
	}
	if v.Major() != 1 {
		return 0, fmt.Errorf("kubeletVersion %s: only Kubernetes 1 is known", kubeletVersion)
	}
	return int(v.Minor()), nil
}

// onlineCPUs parses the CPU list of a field and refuses CPUs that the machine does not have online.
func onlineCPUs(field, list string, topology *cputopology.Topology) (cpuset.Set, error) {
	cpus, err := cpuset.Parse(list)
	if err != nil {
		return cpuset.Set{}, fmt.Errorf("%s: %w", field, err)
	}
	unknown := cpus.Minus(topology.CPUs())
	if !unknown.IsEmpty() {
		return cpuset.Set{}, fmt.Errorf("%s: CPUs %s are in no core of the report", field, unknown)
	}
	return cpus, nil
}
