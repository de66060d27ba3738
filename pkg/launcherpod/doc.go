// SPDX-License-Identifier: Apache-2.0

// Package launcherpod makes the launcher pod of a VirtualMachineInstance (VMI), as KubeVirt's virt-controller does at
// v1.9 with its settings at their defaults.
//
// kubectl corepin uses it to ask about a VM that does not exist yet, and the test clusters to have launcher pods without
// KubeVirt. RenderTarget makes the pod to which a running VM moves, and RenderAttachment the one that holds a hot-plugged
// volume. Tests compare all of them field by field with pods that KubeVirt itself made. Where KubeVirt errs, Render errs in
// the same way.
//
// It does not validate, which is admission's part, and it does not know the settings of a KubeVirt object. Probes, the state that a
// TPM or an EFI keeps, and guests with encrypted memory are not rendered; of a probe the memory is counted. The nodes of a
// test cluster need the labels of KubeVirt's node labeller that pods select.
package launcherpod
