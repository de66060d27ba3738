// SPDX-License-Identifier: Apache-2.0

// Package machine runs whole machines for the system suite: a Debian under QEMU with the CPUs, cores and
// NUMA nodes that a test wants, and in it a real kubelet, containerd, runc and libvirt.
//
// Nothing below the API server is simulated here, which is what test/harness/simnode cannot say. The CPUs
// are emulated (TCG): no KVM is wanted, and a machine of 16 CPUs runs on a host of two, slowly.
// What hack/machine.sh makes is what the machines consist of; it must have run.
//
// Traffic stays on loopback. QEMU's user networking takes connections on two ports of 127.0.0.1, one for
// commands (hack/machined) and one for the kubelet, and lets the machine reach the API server, which it
// sees at 10.0.2.2. Pods reach it at its service address, as on any cluster.
//
// The first machine of its kind boots, and is saved when containerd runs in it. Those after it are restored from what was
// saved, which costs a tenth of a boot. A machine that cannot be restored boots; Origin says so. See saved.go.
//
// A machine belongs to the process that started it and ends with it. Its disk is a copy, gone with its
// folder; Reset keeps it, as pulling the plug does.
package machine
