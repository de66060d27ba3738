// Package system holds corepin against the real thing: whole machines with several NUMA nodes and hardware
// threads (test/harness/machine), in which real kubelets run the shipped agent as the shipped DaemonSet,
// and a VM as a pod with a libvirt and a QEMU of its own. The control plane and corepin-scheduler run on
// the host; KubeVirt's controllers have stand-ins (test/harness/virtcontroller).
//
// The witnesses are the kubelet's checkpoint, the API server, libvirt, and /proc inside the machines;
// corepin's own report is what they are compared with.
//
// The suite is behind the build tag "system", since it takes eight minutes and what hack/machine.sh
// makes: `make test-system` runs both. When a spec fails, the logs of all processes, the objects of the
// API server, the machines' consoles, checkpoints and pod logs are in one folder, whose path is printed.
package system
