// SPDX-License-Identifier: Apache-2.0

// Package crd holds the definitions of KubeVirt's VirtualMachineInstance, VirtualMachine, VirtualMachineInstanceReplicaSet,
// VirtualMachinePool and VirtualMachineInstanceMigration, for test clusters without KubeVirt.
//
// They have the outside of KubeVirt's own: group, versions, names, subresources, what kubectl prints. A
// VirtualMachineInstance has no status subresource there, so one PUT writes all of it. Inside, spec and status take
// anything, so that no test passes because a schema of ours found what on a real cluster nothing would. KubeVirt's own
// definitions are schemas of many thousand lines that its operator generates, and are not needed for what corepin reads.
package crd

import (
	_ "embed"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// KubeVirt is the manifest of the definitions.
//
//go:embed kubevirt.yaml
var KubeVirt []byte

// VMIs is the resource of VirtualMachineInstances, in the version that is stored.
var VMIs = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}

// ClientOf reaches objects of these kinds as one of KubeVirt's programs does, which limits its requests a second. The
// configuration has these limits too.
func ClientOf(config *rest.Config, qps float32, burst int) (dynamic.Interface, *rest.Config, error) {
	config = rest.CopyConfig(config)
	config.QPS = qps
	config.Burst = burst
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("making a dynamic client: %w", err)
	}
	return client, config, nil
}
