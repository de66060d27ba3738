// Package virtcontroller stands in for KubeVirt's virt-controller in test clusters: it makes a
// launcher pod for each VirtualMachineInstance (VMI) and keeps the VMI's status.
//
// It exists because KubeVirt's own modules cannot be had here, and corepin acts on launcher pods.
// Therefore what counts is that its pods are what KubeVirt v1.9 makes, as far as scheduler, kubelet and
// agent look at them: containers and their kind, CPU, memory and devices, labels, annotations, owner,
// node selector, scheduler, volumes. A test holds Render against pods that KubeVirt itself made and
// lists what differs. Where KubeVirt errs, Render errs the same way.
//
// What it promises as a controller: one pod for one VMI, whenever it is killed and started again;
// no second pod after the first one failed or is gone, since KubeVirt does not retry plain VMIs; a
// status that says why a pod was not made or not scheduled. It stands in for virt-handler too, in
// one point: a VMI is Running when its pod is.
//
// What it does not do: validate (that is admission), fill in defaults in the stored VMI (it renders
// as if they were), set node labels, use the settings of a KubeVirt CR, migrate, hotplug, and add the
// memory of host devices, TPM, SEV and probes. Pods select no machine type or CPU model, whose
// labels a KubeVirt node labeller would have to write.
package virtcontroller

import _ "embed"

// Manifest is the controller's namespace, service account and role, named as on a cluster with
// KubeVirt.
//
//go:embed rbac.yaml
var Manifest []byte

// The identity in Manifest.
const (
	Namespace      = "kubevirt"
	ServiceAccount = "kubevirt-controller"
)
