// SPDX-License-Identifier: Apache-2.0

package admission

// This file is all that this package does otherwise for other versions of the kubelet. Packages cpumanager, memorymanager and
// devicemanager have their own. What 1.38 does was read in v1.38.0-beta.0, a beta, and held against that.

// The kubelets whose rules are known, from their sources.
const (
	oldestMinor = 34
	newestMinor = 38
)

// readsStatus is set where a kubelet that starts again reads the status of containers, and not their spec: see waitingOf.
func (n *Node) readsStatus() bool { return n.Minor == 34 }

// checksSMTAgain is set where a kubelet that starts again asks for as many free CPUs on whole cores as a container holds. It
// looks only then at what the container has (Allocate in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3; no longer in
// v1.37.2).
func (n *Node) checksSMTAgain() bool { return n.Minor < 37 }

// restoresPods is set where a kubelet that starts again lets a pod keep the CPUs that it holds as a whole. Such a kubelet also
// takes back the CPUs of a pod that it cannot divide among the containers (allocatePodForAdd and restorePodAllocation in
// pkg/kubelet/cm/cpumanager/policy_static.go, v1.38.0-beta.0).
func (n *Node) restoresPods() bool { return n.Minor >= 38 }

// comparesContainers is set where a kubelet that starts again compares the memory of the pod's first container with what that
// container requests, and not with what the pod does (GetPodTopologyHints in pkg/kubelet/cm/memorymanager/policy_static.go,
// v1.38.0-beta.0).
func (n *Node) comparesContainers() bool { return n.Minor >= 38 }
