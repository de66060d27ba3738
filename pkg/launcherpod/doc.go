// Package launcherpod makes the launcher pod of a VirtualMachineInstance (VMI), as KubeVirt's virt-controller does at
// v1.9 with its settings at their defaults.
//
// kubectl corepin uses it to ask about a VM that does not exist yet, and the test clusters to have launcher pods without
// KubeVirt. What counts is that the pod is KubeVirt's as far as scheduler, kubelet and agent look at it: containers
// and their kind, CPU, memory and devices, labels, annotations, owner, node selector and affinity, scheduler, volumes. A test
// compares Render with pods that KubeVirt itself made, and lists what differs. Where KubeVirt errs, Render errs in
// the same way.
//
// It does not validate, which is admission's part, and it does not know the settings of a KubeVirt object. The memory of
// host devices, TPM, SEV and probes is not added. The nodes of a test cluster need the labels of KubeVirt's node labeller
// that pods select.
package launcherpod
