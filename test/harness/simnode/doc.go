// SPDX-License-Identifier: Apache-2.0

// Package simnode is a node without a machine: a directory tree that stands for one, and the kubelet's
// own packages deciding over it.
//
// What is real:
//
//   - The CPU manager, the memory manager and the topology manager of k8s.io/kubernetes v1.36.3 admit or refuse every
//     pod and write the state files cpu_manager_state and memory_manager_state.
//   - On a machine with devices so does the device manager, with its checkpoint, and pod resources are served. The
//     device plugins are not real: each agrees to everything.
//   - The kubelet's fit predicate gives OutOfcpu and the like.
//   - cadvisor, the kubelet's own reader, reads the topology from the simulated /sys.
//   - Pods, the Node object, its Lease and the events go through a real API server.
//   - A guest, where there is one, runs under a real libvirtd (package guest).
//
// An agent that reads the tree cannot distinguish it from a host:
//
//	<dir>/sys/devices/system/{cpu,node}   what the kernel would show
//	<dir>/kubelet/config.yaml             KubeletConfiguration
//	<dir>/kubelet/cpu_manager_state       written by the kubelet's code, as is memory_manager_state
//	<dir>/kubelet/device-plugins/         the device manager's socket and checkpoint
//	<dir>/kubelet/pod-resources/          the socket of pod resources
//	<dir>/kubelet/pods/<uid>/volumes/...  the emptyDir volumes
//
// What is simulated: there is no container runtime. A container "runs" when the status says so, init
// containers complete at once, no image is pulled, no cgroup is made, no probe is run. Of all admission
// handlers of a kubelet the two that look at resources are here, in the kubelet's order.
//
// The kubelet's life and the machine's are two things, as on a host. Run is one life of the kubelet;
// when it ends, or is restarted by Restart or Reconfigure, the guests go on and the next life finds them.
// Stop switches the machine off. A new process over the same directory is a machine that was rebooted:
// pods that the API server still has keep the CPUs that the checkpoint gives them, and their guests start
// anew.
//
// The kubelet's packages log much, to the process's default klog logger; a program made for people will
// want to direct that away.
package simnode
