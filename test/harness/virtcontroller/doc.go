// Package virtcontroller stands in for KubeVirt's virt-controller in test clusters: it makes a launcher pod for each
// VirtualMachineInstance (VMI) and keeps the VMI's status. The pods are those of pkg/launcherpod.
//
// It promises one pod for one VMI, whenever it is killed and started again. There is no second pod after the first one
// failed or is gone, since KubeVirt does not retry plain VMIs. The status says why a pod was not made or not
// scheduled. It stands in for virt-handler too, in one point: a VMI is Running when its pod is.
//
// It does not validate (that is admission), fill in defaults in the stored VMI (pods are rendered as if it did), set node
// labels, use the settings of a KubeVirt object, migrate or hotplug.
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
