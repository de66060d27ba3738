// SPDX-License-Identifier: Apache-2.0

// Package virtcontroller stands in for KubeVirt's virt-controller in test clusters: it makes a launcher pod for each
// VirtualMachineInstance (VMI) and keeps the VMI's status. The pods are those of pkg/launcherpod.
//
// It promises one pod for one VMI, whenever it is killed and started again. There is no second pod after the first one
// failed or is gone, since KubeVirt does not retry plain VMIs. The status says why a pod was not made or not
// scheduled. A VMI goes from Pending to Scheduling and Scheduled; that it is Running is for virt-handler to say
// (test/harness/virthandler). A migration of a VMI that runs gets its target pod, and ends in phase PreparingTarget: what follows
// is virt-handler's part. Once the VMI says that it has moved, its pod is the one on its new node.
//
// It does not validate or fill in defaults (that is virt-api's part, test/harness/virtapi), set node labels, use the settings of a
// KubeVirt object, or hotplug.
package virtcontroller

import _ "embed"

// Manifest is the namespace, and the service accounts and roles of controller and handler, named as on a cluster with
// KubeVirt.
//
//go:embed rbac.yaml
var Manifest []byte

// The identities in Manifest.
const (
	Namespace      = "kubevirt"
	ServiceAccount = "kubevirt-controller"
	HandlerAccount = "kubevirt-handler"
)
