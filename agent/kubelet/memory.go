// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
)

// memoryFile is the name of the memory manager's state file in the kubelet's root directory
// (memoryManagerStateFileName, pkg/kubelet/cm/memorymanager/memory_manager.go, v1.36.3).
const memoryFile = "memory_manager_state"

// Memory is what memory_manager_state says, as it says it (pkg/kubelet/cm/memorymanager/state/state.go,
// v1.36.3). Amounts are in bytes.
type Memory struct {
	// Policy is None or Static.
	Policy string `json:"policyName"`
	// NUMANodes is the memory by NUMA node; empty under policy None.
	NUMANodes map[int32]NUMAMemory `json:"machineState"`
	// Granted are the assignments by pod and container.
	Granted map[types.UID]map[string][]MemoryBlock `json:"entries"`
	// PodLevel reports whether pods hold memory as a whole, which they do only with the kubelet's feature gate
	// PodLevelResourceManagers on.
	PodLevel bool `json:"-"`
}

// NUMAMemory is the memory of one NUMA node.
type NUMAMemory struct {
	Assignments int32                     `json:"numberOfAssignments"`
	Resources   map[string]MemoryResource `json:"memoryMap"`
	Group       []int32                   `json:"cells"`
}

// MemoryResource is one kind of memory of a NUMA node.
type MemoryResource struct {
	Total          int64 `json:"total"`
	SystemReserved int64 `json:"systemReserved"`
	Allocatable    int64 `json:"allocatable"`
	Reserved       int64 `json:"reserved"`
	Free           int64 `json:"free"`
}

// MemoryBlock is one assignment.
type MemoryBlock struct {
	NUMANodes []int32 `json:"numaAffinity"`
	Type      string  `json:"type"`
	Size      int64   `json:"size"`
}

// memoryContents is the contents of the file: podEntries are there from 1.36 on.
type memoryContents struct {
	Memory
	PodEntries map[types.UID]json.RawMessage `json:"podEntries"`
}

// ParseMemory reads a memory_manager_state file. Kubelets from 1.37 on repeat the older fields and put the
// whole state, as text, into data. Fields that are not known are left alone.
func ParseMemory(data []byte) (Memory, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return Memory{}, errors.New("the file is empty")
	}
	var document struct {
		memoryContents
		Data *string `json:"data"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return Memory{}, fmt.Errorf("the file is damaged or half written: %w", err)
	}
	state := document.memoryContents
	if document.Data != nil {
		state = memoryContents{}
		if err := json.Unmarshal([]byte(*document.Data), &state); err != nil {
			return Memory{}, fmt.Errorf("the file is damaged or half written: field data: %w", err)
		}
	}
	m := state.Memory
	m.PodLevel = len(state.PodEntries) > 0
	if m.Policy == "" {
		return Memory{}, errors.New("policyName is missing; the state is of a version this agent does not know")
	}
	return m, nil
}
