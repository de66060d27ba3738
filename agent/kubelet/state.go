package kubelet

import (
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/agent/source"
	"corepin.dev/corepin/pkg/cpuset"
)

// State is what was read of the kubelet. It is immutable: whoever holds one may read it without a lock,
// and must not change what it points to.
type State struct {
	// Checkpoint is cpu_manager_state.
	Checkpoint source.Reading[Checkpoint]
	// Config is the kubelet's configuration file.
	Config source.Reading[Config]
}

// Checkpoint is what cpu_manager_state says.
type Checkpoint struct {
	// Policy is the policy that the CPU manager runs with: static or none.
	Policy string
	// Shared is the shared pool (defaultCpuSet); empty under policy none.
	Shared cpuset.Set
	// Granted are the exclusive CPUs, by pod and container. A container that has ended may stand here
	// until the kubelet next looks, 10 s at most.
	Granted map[types.UID]map[string]cpuset.Set
	// PodLevel tells that the kubelet has granted CPUs to whole pods (feature gate
	// PodLevelResourceManagers), which is not modelled; Granted then also holds containers that share.
	PodLevel bool
}

// Config is what the kubelet's configuration file says, with the kubelet's defaults.
type Config struct {
	CPUManagerPolicy       string
	CPUManagerOptions      map[string]string
	TopologyManagerPolicy  string
	TopologyManagerScope   string
	TopologyManagerOptions map[string]string
	MemoryManagerPolicy    string
	// PodLevelResources tells whether feature gate PodLevelResourceManagers is set on.
	PodLevelResources bool
	// ReservedCPUs are reservedSystemCPUs; empty where only an amount is reserved.
	ReservedCPUs cpuset.Set
	// ReservedCount is the number of CPUs that kubeReserved and systemReserved come to, rounded up. It
	// counts only where ReservedCPUs is empty.
	ReservedCount int
}

// Granted are the exclusive CPUs of each container by pod, as last read; nil before the first good read.
// current tells whether they are the latest word: the latest read did not fail.
func (s *State) Granted() (granted map[types.UID]map[string]cpuset.Set, current bool) {
	return s.Checkpoint.Value.Granted, s.Checkpoint.Known && s.Checkpoint.Err == nil
}
