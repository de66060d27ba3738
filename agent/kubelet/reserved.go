// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"corepin.dev/corepin/pkg/quantity"
)

// Reserved is what of a configuration decides only whether the kubelet starts.
type Reserved struct {
	// CPU reports whether kubeReserved or systemReserved gives an amount of CPUs, zero included.
	CPU bool
	// Cgroups are systemReservedCgroup and kubeReservedCgroup, as far as they are set.
	Cgroups []string
	// Memory is what kubeReserved, systemReserved and evictionHard come to, by resource: memory and hugepages-<size>,
	// in bytes. MemoryUnknown says why it is not known.
	Memory        map[string]int64
	MemoryUnknown string
	// NUMANodes are the entries of reservedMemory.
	NUMANodes []NUMAReservation
}

// NUMAReservation is an entry of reservedMemory: bytes by resource on a NUMA node.
type NUMAReservation struct {
	NUMANode int32
	Limits   map[string]int64
}

// defaultEviction is the kubelet's default of evictionHard memory.available (DefaultEvictionHard in
// pkg/kubelet/eviction/defaults_linux.go, v1.36.3).
const (
	defaultEviction = "100Mi"
	evictionSignal  = "memory.available"
)

// reservedOf follows the kubelet (GetNodeAllocatableReservation in pkg/kubelet/cm/node_container_manager_linux.go and
// the defaulting of evictionHard in cmd/kubelet/app/server.go, v1.36.3).
func reservedOf(file *kubeletconfig.KubeletConfiguration) (Reserved, error) {
	r := Reserved{Memory: map[string]int64{}}
	for _, group := range []string{file.SystemReservedCgroup, file.KubeReservedCgroup} {
		if group != "" {
			r.Cgroups = append(r.Cgroups, group)
		}
	}
	for field, amounts := range map[string]map[string]string{"kubeReserved": file.KubeReserved, "systemReserved": file.SystemReserved} {
		for name, amount := range amounts {
			r.CPU = r.CPU || name == string(corev1.ResourceCPU)
			if !isMemory(name) {
				continue
			}
			q, err := quantity.Parse(amount)
			if err != nil {
				return r, fmt.Errorf("%s.%s %.40q: %w", field, name, amount, err)
			}
			r.Memory[name] += q.Value()
		}
	}
	if err := r.addEviction(file); err != nil {
		return r, err
	}
	for _, entry := range file.ReservedMemory {
		limits := map[string]int64{}
		for name, limit := range entry.Limits {
			limits[string(name)] = limit.Value()
		}
		r.NUMANodes = append(r.NUMANodes, NUMAReservation{NUMANode: entry.NumaNode, Limits: limits})
	}
	return r, nil
}

func (r *Reserved) addEviction(file *kubeletconfig.KubeletConfiguration) error {
	threshold, set := file.EvictionHard[evictionSignal]
	merges := file.MergeDefaultEvictionSettings != nil && *file.MergeDefaultEvictionSettings
	switch {
	case !set && file.EvictionHard != nil && !merges:
		return nil
	case !set:
		threshold = defaultEviction
	case strings.HasSuffix(threshold, "%"):
		r.MemoryUnknown = fmt.Sprintf("evictionHard %s is a share of the machine's memory (%s)", evictionSignal, threshold)
		return nil
	}
	q, err := quantity.Parse(threshold)
	if err != nil {
		return fmt.Errorf("evictionHard.%s %.40q: %w", evictionSignal, threshold, err)
	}
	r.Memory[string(corev1.ResourceMemory)] += q.Value()
	return nil
}

func isMemory(name string) bool {
	return name == string(corev1.ResourceMemory) || strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
}

// OnNUMANode is what is reserved on a NUMA node of a kind of memory, in bytes.
func (r Reserved) OnNUMANode(node int32, name string) int64 {
	var bytes int64
	for _, entry := range r.NUMANodes {
		if entry.NUMANode == node {
			bytes += entry.Limits[name]
		}
	}
	return bytes
}

// Problem is why a kubelet with memory manager policy Static refuses these reservations; "" where it does not, or where
// that is not known (validateReservedMemoryConfiguration in pkg/kubelet/apis/config/validation, validateReservedMemory
// and NewPolicyStatic in pkg/kubelet/cm/memorymanager, v1.36.3).
func (r Reserved) Problem() string {
	total := map[string]int64{}
	seen := map[string]bool{}
	for _, entry := range r.NUMANodes {
		for _, name := range slices.Sorted(maps.Keys(entry.Limits)) {
			key := fmt.Sprintf("%s of NUMA node %d", name, entry.NUMANode)
			switch {
			case !isMemory(name):
				return fmt.Sprintf("reservedMemory has %s, and only memory and hugepages-<size> are accepted", key)
			case entry.Limits[name] == 0:
				return fmt.Sprintf("reservedMemory has 0 for %s", key)
			case seen[key]:
				return fmt.Sprintf("reservedMemory lists %s twice", key)
			}
			seen[key] = true
			total[name] += entry.Limits[name]
		}
	}
	if r.MemoryUnknown == "" {
		both := maps.Clone(total)
		maps.Copy(both, r.Memory)
		for _, name := range slices.Sorted(maps.Keys(both)) {
			if total[name] != r.Memory[name] {
				return fmt.Sprintf("reservedMemory comes to %d bytes of %s, and kubeReserved, systemReserved and evictionHard to %d; they have to be equal", total[name], name, r.Memory[name])
			}
		}
	}
	if total[string(corev1.ResourceMemory)] == 0 {
		return "the memory manager's policy Static needs reservedMemory"
	}
	return ""
}
