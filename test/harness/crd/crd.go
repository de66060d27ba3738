// Package crd holds the definitions of KubeVirt's VirtualMachineInstance, VirtualMachine, VirtualMachineInstanceReplicaSet,
// VirtualMachinePool and VirtualMachineInstanceMigration, for test clusters without KubeVirt.
//
// They have the outside of KubeVirt's own: group, versions, names, subresources, what kubectl prints. A
// VirtualMachineInstance has no status subresource there, so one PUT writes all of it. Inside, spec and status take
// anything, so that no test passes because a schema of ours found what on a real cluster nothing would. KubeVirt's own
// definitions are schemas of many thousand lines that its operator generates, and are not needed for what corepin reads.
package crd

import _ "embed"

// KubeVirt is the manifest of the definitions.
//
//go:embed kubevirt.yaml
var KubeVirt []byte
