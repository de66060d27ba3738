// Package crd holds the definitions of KubeVirt's VirtualMachineInstance and VirtualMachine, for test
// clusters where KubeVirt is not.
//
// They promise the outside of KubeVirt's own: group, versions, names, status subresource, what
// kubectl prints. Inside, spec and status take anything, so that no test passes because a schema of
// ours caught what on a real cluster nothing would. KubeVirt's own definitions are schemas of many
// thousand lines that its operator generates, and are not needed for what corepin reads.
package crd

import _ "embed"

// KubeVirt is the manifest of both definitions.
//
//go:embed kubevirt.yaml
var KubeVirt []byte
