// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	kubecpuset "k8s.io/utils/cpuset"
	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/pkg/quantity"
)

// KubeletSettings are the fields of KubeletConfiguration that decide over CPUs, as a user writes them.
// Whether they are valid is for the kubelet's own code to say.
type KubeletSettings struct {
	CPUManagerPolicy             string // "" is "none"
	CPUManagerPolicyOptions      map[string]string
	TopologyManagerPolicy        string // "" is "none"
	TopologyManagerScope         string // "" is "container"
	TopologyManagerPolicyOptions map[string]string
	MemoryManagerPolicy          string // "" is "None"; with "Static" the eviction threshold is reserved on the first NUMA node
	ReservedSystemCPUs           string // a CPU list; wins over SystemReservedCPU
	SystemReservedCPU            string // an amount, e.g. "500m"; the kubelet picks the CPUs
}

func (s KubeletSettings) withDefaults() KubeletSettings {
	s.CPUManagerPolicy = cmp.Or(s.CPUManagerPolicy, "none")
	s.TopologyManagerPolicy = cmp.Or(s.TopologyManagerPolicy, "none")
	s.MemoryManagerPolicy = cmp.Or(s.MemoryManagerPolicy, memoryPolicyNone)
	s.TopologyManagerScope = cmp.Or(s.TopologyManagerScope, "container")
	return s
}

// reservation is the CPU kept for system and kubelet: the amount, and the ids where they are given
// (cmd/kubelet/app/server.go, v1.36.3: the list overwrites the amount).
func (s KubeletSettings) reservation() (resource.Quantity, kubecpuset.CPUSet, error) {
	ids, err := kubecpuset.Parse(s.ReservedSystemCPUs)
	if err != nil {
		return resource.Quantity{}, ids, fmt.Errorf("parsing reservedSystemCPUs: %w", err)
	}
	if !ids.IsEmpty() {
		return *resource.NewQuantity(int64(ids.Size()), resource.DecimalSI), ids, nil
	}
	if s.SystemReservedCPU == "" {
		return resource.Quantity{}, ids, nil
	}
	amount, err := quantity.Parse(s.SystemReservedCPU)
	if err != nil {
		return amount, ids, fmt.Errorf("parsing the reserved CPU amount %q: %w", s.SystemReservedCPU, err)
	}
	return amount, ids, nil
}

// configuration is the file that an administrator would have written.
func (s KubeletSettings) configuration(firstNUMANode int) *kubeletconfig.KubeletConfiguration {
	config := &kubeletconfig.KubeletConfiguration{
		TypeMeta:                     metav1.TypeMeta{APIVersion: kubeletconfig.SchemeGroupVersion.String(), Kind: "KubeletConfiguration"},
		CPUManagerPolicy:             s.CPUManagerPolicy,
		CPUManagerPolicyOptions:      s.CPUManagerPolicyOptions,
		CPUManagerReconcilePeriod:    metav1.Duration{Duration: reconcilePeriod},
		TopologyManagerPolicy:        s.TopologyManagerPolicy,
		TopologyManagerScope:         s.TopologyManagerScope,
		TopologyManagerPolicyOptions: s.TopologyManagerPolicyOptions,
		ReservedSystemCPUs:           s.ReservedSystemCPUs,
		EvictionHard:                 map[string]string{"memory.available": evictionMemory},
	}
	if s.SystemReservedCPU != "" {
		config.SystemReserved = map[string]string{string(corev1.ResourceCPU): s.SystemReservedCPU}
	}
	if s.MemoryManagerPolicy != memoryPolicyNone {
		config.MemoryManagerPolicy = s.MemoryManagerPolicy
		config.ReservedMemory = []kubeletconfig.MemoryReservation{{
			NumaNode: int32(firstNUMANode), Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(evictionMemory)},
		}}
	}
	return config
}

const (
	// reconcilePeriod is the kubelet's default cpuManagerReconcilePeriod: how long the CPUs of an ended
	// pod stay assigned at most.
	reconcilePeriod = 10 * time.Second
	// evictionMemory is the kubelet's default hard eviction threshold, kept out of what is allocatable.
	evictionMemory = "100Mi"
)

// writeConfig replaces <kubelet root>/config.yaml in one step, so that no reader sees half of it.
func (s KubeletSettings) writeConfig(rootDir string, firstNUMANode int) error {
	text, err := yaml.Marshal(s.configuration(firstNUMANode))
	if err != nil {
		return fmt.Errorf("writing the kubelet configuration: %w", err)
	}
	path := filepath.Join(rootDir, "config.yaml")
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return fmt.Errorf("writing the kubelet configuration: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("replacing the kubelet configuration: %w", err)
	}
	return nil
}
