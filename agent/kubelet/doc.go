// Package kubelet reads the node's kubelet: how it decides about CPUs, and what it has decided.
//
// Two files tell it. cpu_manager_state in the kubelet's root directory is the CPU manager's own memory:
// the policy it runs with, the shared pool, and the CPUs granted to each container. The kubelet's
// configuration file says the rest: the options of the CPU manager policy, the topology manager, the
// memory manager, the reserved CPUs.
//
// Which of the two says what matters. The policy is taken from cpu_manager_state, because that is what
// runs: the kubelet refuses to start where the two differ (restoreState, pkg/kubelet/cm/cpumanager/state/
// state_checkpoint.go, v1.36.3), so a difference means that somebody edited the configuration and has
// not restarted the kubelet yet. Used CPUs are the online CPUs without the shared pool, never the sum of
// the entries: the kubelet writes twice for each admission, first the smaller shared pool and then the
// entry, and between the two writes the CPUs stand in neither.
//
// The file is replaced by rename, so its directory is watched, not the file; a slow re-read stands under
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
