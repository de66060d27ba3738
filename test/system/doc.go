// SPDX-License-Identifier: Apache-2.0

// Package system tests corepin on real kubelets, in whole machines with several NUMA nodes and hardware
// threads (test/harness/machine). They run the shipped agent as the shipped DaemonSet, and a VM as a pod with
// a libvirt and a QEMU of its own. The control plane and corepin-scheduler run on the host; KubeVirt's
// controllers have stand-ins (test/harness/virtcontroller).
//
// Assertions ask the kubelet's checkpoint, the API server, libvirt, and /proc and cgroups inside the
// machines. corepin's own report is compared with them.
//
// The specs run in one order, from the boot to the last fault:
//
//   - each node as its kubelet knows it, feature gate and labels;
//   - VMs from kubectl apply to the pins in /proc;
//   - both machines filled by corepin-scheduler and by stock kube-scheduler with the same VMs;
//   - prediction against grant under every policy of the topology manager, which CI leaves out (label "long"), and with every
//     option of the CPU manager;
//   - VMs that keep their CPUs while everything around them is killed;
//   - huge pages, memory manager Static and a device plugin: prediction against grant and refusal under every policy, both
//     machines filled once more, and a guest whose memory is huge pages. They take 19 minutes, so CI leaves them out. They have the
//     label "furnished", and run with `make test-system LABELS=furnished`.
//
// Two stories more have a machine of their own. One's kernel has AppArmor, and the agent runs under the shipped profile (label
// "apparmor"). The other's kubelet reconciles after ten seconds as users' do. There, others take the CPUs of a VM in every way,
// and each is told (label "proof"). `make test-system LABELS=quiet` leaves such a VM alone for an hour, and nothing may be told.
//
// Tables in the output show what was seen.
//
// The suite is behind the build tag "system", since it takes up to 30 minutes on two CPUs and what
// hack/machine.sh makes: `make test-system` runs both. When a spec fails, the logs of all processes, the objects
// of the API server, the machines' consoles, checkpoints and pod logs are in one folder, whose path is printed.
package system
