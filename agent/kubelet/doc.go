// SPDX-License-Identifier: Apache-2.0

// Package kubelet reads the node's kubelet: how it decides about CPUs, and what it has decided.
//
// It is asked, and its files are read:
//
//	cpu_manager_state     the CPU manager's checkpoint: the policy it runs with, the shared pool, the CPUs
//	                      granted to each container
//	memory_manager_state  the memory manager's
//	kubelet_internal_checkpoint  the device manager's: the devices that each container holds
//	/configz              what the kubelet runs with: the options of the policies, the reserved CPUs
//	its configuration     what it will run with when it starts again, and what it runs with, probably, where
//	file                  it cannot be asked: flags and drop-in files stand above it
//	podresources          which CPUs it may grant: so which it keeps, and whether the policy is static; which devices
//	                      are healthy, and on which NUMA nodes they are
//
// Each is a Reading of its own, and each may be missing. A kubelet before 1.36 with feature gate KubeletFineGrainedAuthz
// off does not let the agent read /configz. It asks for the right to run commands in pods, which the agent is not given.
//
// The policy is taken from cpu_manager_state, because that is what runs. The kubelet refuses to start where
// the two differ (restoreState, pkg/kubelet/cm/cpumanager/state/state_checkpoint.go, v1.36.3). So a
// difference means that somebody edited the configuration and has not restarted the kubelet yet.
//
// Used CPUs are the online CPUs without the shared pool, never the sum of the entries. The kubelet writes
// twice for each admission, first the smaller shared pool and then the entry. Between the two writes the CPUs
// are in neither.
//
// A kubelet's configuration is fixed when it starts. So it is asked when one may have started, until it
// answers, and every ten minutes besides. Signs of a start are a new podresources socket, and a change of the
// policy or of the configuration file.
//
// Devices come and go while a kubelet runs. It is asked for them whenever something happens in the directory of the device
// plugins' sockets, where the checkpoint is as well. So it is when the Node has another number of them (AskDevices),
// and every five minutes besides. That costs the API server nothing. The checkpoint is read again only where it is another file.
//
// The agent's token goes to the kubelet's port, so who listens there has to prove that it is this node's
// kubelet: see Trust.
//
// Files are replaced by rename, so their directories are watched, not the files; a slow re-read stands under
// the watch, for file systems that do not notify. A read that fails (no file, half a file, garbage, a
// version this agent does not know) changes nothing but the error that the Reading carries: see package
// source.
//
// A Watcher is used so:
//
//	w := kubelet.NewWatcher(kubelet.Options{RootDir: "/var/lib/kubelet", ...})
//	changed := w.Subscribe()          // before Run
//	go w.Run(ctx)
//	<-changed
//	granted, current := w.State().Granted()
package kubelet
