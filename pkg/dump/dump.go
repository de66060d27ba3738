// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// APIVersion and Kind are those of a Header. No API server knows them.
const (
	APIVersion = "cli.corepin.dev/v1alpha1"
	Kind       = "Dump"
)

// Header is the first object of a file.
type Header struct {
	metav1.TypeMeta `json:",inline"`
	// Time is when the cluster was read.
	Time metav1.MicroTime `json:"time"`
	// Version is that of the program that wrote the file.
	Version string `json:"version"`
	// Namespace is the one that kubectl would use.
	Namespace string  `json:"namespace,omitempty"`
	Leases    []Lease `json:"leases,omitempty"`
	// Masked reports that the names are not the cluster's.
	Masked bool `json:"masked,omitempty"`
}

// Lease is what the API server said about the Lease of a scheduler.
type Lease struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Missing reports that there is none. Error says why it could not be read.
	Missing bool   `json:"missing,omitempty"`
	Error   string `json:"error,omitempty"`
	// Holder is who has it. Acquired and Renewed are when it got it, and when it last renewed it.
	Holder   string           `json:"holder,omitempty"`
	Acquired metav1.MicroTime `json:"acquired,omitempty"`
	Renewed  metav1.MicroTime `json:"renewed,omitempty"`
	Duration metav1.Duration  `json:"duration,omitempty"`
	// Now is the API server's time at that moment.
	Now metav1.MicroTime `json:"now,omitempty"`
}

// Contents are what a file has.
type Contents struct {
	Header
	Reports []v1alpha1.NodeCPU
	Nodes   []corev1.Node
	Pods    []corev1.Pod
	// VMIs are KubeVirt's VirtualMachineInstances. Sizes are its instancetypes and preferences, and the revisions of them.
	VMIs, Sizes []map[string]any
}

// Objects are the objects of the file, in their order, without what nobody needs. contents are not changed.
func Objects(contents *Contents) []any {
	header := contents.Header
	header.TypeMeta = metav1.TypeMeta{APIVersion: APIVersion, Kind: Kind}
	all := []any{&header}
	for i := range contents.Reports {
		all = append(all, trimReport(&contents.Reports[i]))
	}
	for i := range contents.Nodes {
		all = append(all, trimNode(&contents.Nodes[i]))
	}
	for i := range contents.Pods {
		all = append(all, trimPod(&contents.Pods[i]))
	}
	for _, vmi := range contents.VMIs {
		all = append(all, trimVMI(vmi))
	}
	for _, size := range contents.Sizes {
		all = append(all, trimSize(size))
	}
	return all
}

// Lease finds what the file says about a Lease; nil for one that was not asked for.
func (h *Header) Lease(name types.NamespacedName) *Lease {
	for i := range h.Leases {
		if h.Leases[i].Namespace == name.Namespace && h.Leases[i].Name == name.Name {
			return &h.Leases[i]
		}
	}
	return nil
}

// LeaseOf makes a Lease of the moments that the API server gave.
func LeaseOf(name types.NamespacedName, holder string, acquired, renewed, now time.Time, duration time.Duration) Lease {
	return Lease{Namespace: name.Namespace, Name: name.Name, Holder: holder, Acquired: metav1.NewMicroTime(acquired),
		Renewed: metav1.NewMicroTime(renewed), Now: metav1.NewMicroTime(now), Duration: metav1.Duration{Duration: duration}}
}
