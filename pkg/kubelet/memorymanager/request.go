// SPDX-License-Identifier: Apache-2.0

package memorymanager

import (
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ErrNotWhole is an amount that is no whole number of bytes. The memory manager then has no hints, and Allocate fails the
// pod.
var ErrNotWhole = errors.New("[memorymanager] failed to represent quantity as int64")

// RequestOf is the memory in a container's requests, sorted by type. It returns ErrNotWhole, the kubelet's error, for an
// amount that is no whole number of bytes (getContainerRequestedResources).
func RequestOf(requests corev1.ResourceList) ([]Quantity, error) {
	var request []Quantity
	for name, quantity := range requests {
		if name != corev1.ResourceMemory && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			continue
		}
		bytes, ok := quantity.AsInt64()
		if !ok {
			return nil, ErrNotWhole
		}
		request = append(request, Quantity{Type: string(name), Bytes: uint64(bytes)})
	}
	slices.SortFunc(request, func(a, b Quantity) int { return strings.Compare(a.Type, b.Type) })
	return request, nil
}

// firstMinorOfInitTypes is the first kubelet that remembers a type that only init containers request
// (getPodRequestedResources in pkg/kubelet/cm/memorymanager/policy_static.go, v1.38.0-beta.0).
const firstMinorOfInitTypes = 38

// PodRequest adds up what a pod requests at once, for scope pod: its app containers and sidecars, or an init container and
// the sidecars before it (getPodRequestedResources). Containers are added in the order of the pod, init containers first.
type PodRequest struct{ types []podQuantity }

// podQuantity is what the containers of a pod request of one type.
type podQuantity struct {
	name     string
	sidecars uint64
	starting uint64 // the most while the pod starts
	apps     uint64
	lasting  bool // an app container requests it
}

// Reset forgets the containers.
func (r *PodRequest) Reset() { r.types = r.types[:0] }

// AddInit adds an init container.
func (r *PodRequest) AddInit(request []Quantity) {
	for i := range request {
		q := r.of(request[i].Type)
		q.starting = max(q.starting, q.sidecars+request[i].Bytes)
	}
}

// AddSidecar adds a restartable init container.
func (r *PodRequest) AddSidecar(request []Quantity) {
	for i := range request {
		r.of(request[i].Type).sidecars += request[i].Bytes
	}
}

// AddApp adds an app container.
func (r *PodRequest) AddApp(request []Quantity) {
	for i := range request {
		q := r.of(request[i].Type)
		q.apps += request[i].Bytes
		q.lasting = true
	}
}

// Append appends the request of the pod to a list, as a kubelet 1.<minor> sees it. Up to 1.37 a type that no app container
// requests is forgotten.
func (r *PodRequest) Append(list []Quantity, minor int) []Quantity {
	for i := range r.types {
		q := &r.types[i]
		if q.lasting || minor >= firstMinorOfInitTypes {
			list = append(list, Quantity{Type: q.name, Bytes: max(q.apps+q.sidecars, q.starting)})
		}
	}
	return list
}

func (r *PodRequest) of(name string) *podQuantity {
	at := slices.IndexFunc(r.types, func(q podQuantity) bool { return q.name == name })
	if at < 0 {
		at = len(r.types)
		r.types = append(r.types, podQuantity{name: name})
	}
	return &r.types[at]
}
