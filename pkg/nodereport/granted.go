// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
)

// SetGranted writes the exclusive CPUs of each container into a report, sorted by pod UID and container
// name, so that equal grants make equal reports. Containers without CPUs are left out.
func SetGranted(s *v1alpha1.NodeCPUStatus, granted map[types.UID]map[string]cpuset.Set) {
	s.Granted = nil
	for _, uid := range slices.Sorted(maps.Keys(granted)) {
		pod := v1alpha1.PodGrant{PodUID: uid}
		for _, name := range slices.Sorted(maps.Keys(granted[uid])) {
			cpus := granted[uid][name]
			if !cpus.IsEmpty() {
				pod.Containers = append(pod.Containers, v1alpha1.ContainerGrant{Name: name, CPUs: cpus.String()})
			}
		}
		if len(pod.Containers) > 0 {
			s.Granted = append(s.Granted, pod)
		}
	}
}

// Granted reads the exclusive CPUs of each container, by pod UID and container name. It is an error when
// two pods hold the same CPU, or when a granted CPU is also in the shared pool.
func Granted(nc *v1alpha1.NodeCPU) (map[types.UID]map[string]cpuset.Set, error) {
	pods, err := decodeGranted(&nc.Status)
	if err != nil {
		return nil, fmt.Errorf("reading node report of %s: %w", nc.Name, err)
	}
	return pods, nil
}

func decodeGranted(s *v1alpha1.NodeCPUStatus) (map[types.UID]map[string]cpuset.Set, error) {
	if err := readable(s); err != nil {
		return nil, err
	}
	topology, err := Topology(s)
	if err != nil {
		return nil, err
	}
	return granted(s, topology)
}

func granted(s *v1alpha1.NodeCPUStatus, topology *cputopology.Topology) (map[types.UID]map[string]cpuset.Set, error) {
	taken, err := onlineCPUs("sharedCPUs", s.SharedCPUs, topology)
	if err != nil {
		return nil, err
	}
	pods := make(map[types.UID]map[string]cpuset.Set, len(s.Granted))
	for _, grant := range s.Granted {
		_, twice := pods[grant.PodUID]
		if twice || grant.PodUID == "" {
			return nil, fmt.Errorf("granted: pod UID %q is empty or is listed twice", grant.PodUID)
		}
		containers, cpus, err := grantedToPod(grant, topology)
		if err != nil {
			return nil, err
		}
		both := cpus.Intersect(taken)
		if !both.IsEmpty() {
			return nil, fmt.Errorf("granted: CPUs %s of pod %s are also in the shared pool or held by another pod", both, grant.PodUID)
		}
		taken = taken.Union(cpus)
		pods[grant.PodUID] = containers
	}
	return pods, nil
}

// grantedToPod is what each container of a pod was granted, and all of it together.
func grantedToPod(grant v1alpha1.PodGrant, topology *cputopology.Topology) (map[string]cpuset.Set, cpuset.Set, error) {
	var all cpuset.Set
	containers := make(map[string]cpuset.Set, len(grant.Containers))
	for _, container := range grant.Containers {
		field := fmt.Sprintf("granted to container %q of pod %s", container.Name, grant.PodUID)
		_, twice := containers[container.Name]
		if twice || container.Name == "" {
			return nil, cpuset.Set{}, fmt.Errorf("%s: the name is empty or is listed twice", field)
		}
		cpus, err := onlineCPUs(field, container.CPUs, topology)
		if err != nil {
			return nil, cpuset.Set{}, err
		}
		containers[container.Name] = cpus
		all = all.Union(cpus)
	}
	return containers, all, nil
}

// Summarize fills the report's Summary from the rest of it. Granted CPUs are those in neither the shared
// pool nor the reserved ones, even if no grant names them yet. Where the policy is not static, nothing is
// granted and nothing can be. Lists that do not parse count as empty.
func Summarize(s *v1alpha1.NodeCPUStatus) {
	var online cpuset.Set
	for _, core := range s.Cores {
		online = online.Union(lenient(core.CPUs))
	}
	reserved := lenient(s.ReservedCPUs)
	shared := lenient(s.SharedCPUs)
	s.Summary = v1alpha1.Summary{
		CPUs: int32(online.Len()), NUMANodes: int32(len(s.NUMANodes)), Reserved: int32(reserved.Len()),
	}
	if s.CPUManager.Policy == cpumanager.PolicyStatic {
		s.Summary.Granted = int32(online.Minus(shared).Minus(reserved).Len())
		s.Summary.Free = int32(shared.Intersect(online).Minus(reserved).Len())
	}
}

func lenient(list string) cpuset.Set {
	cpus, err := cpuset.Parse(list)
	if err != nil {
		return cpuset.Set{}
	}
	return cpus
}
