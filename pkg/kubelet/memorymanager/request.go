package memorymanager

import (
	"errors"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var errNotWhole = errors.New("[memorymanager] failed to represent quantity as int64")

// RequestOf is the memory in a container's requests, sorted by type. It returns the kubelet's error for an amount that is
// no whole number of bytes (getContainerRequestedResources).
func RequestOf(requests corev1.ResourceList) ([]Quantity, error) {
	var request []Quantity
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		if name != corev1.ResourceMemory && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			continue
		}
		quantity := requests[name]
		bytes, ok := quantity.AsInt64()
		if !ok {
			return nil, errNotWhole
		}
		request = append(request, Quantity{Type: string(name), Bytes: uint64(bytes)})
	}
	return request, nil
}

// PodRequest is what a pod requests at once, for scope pod: its app containers and sidecars, or an init container and
// the sidecars before it. A type that only init containers request is forgotten, as in the kubelet up to 1.37
// (getPodRequestedResources).
func PodRequest(inits []InitRequest, apps [][]Quantity) []Quantity {
	var sidecars, starting, lasting []Quantity
	for _, c := range inits {
		for _, q := range c.Request {
			if c.Sidecar {
				*of(&sidecars, q.Type) += q.Bytes
				continue
			}
			most := of(&starting, q.Type)
			*most = max(*most, *of(&sidecars, q.Type)+q.Bytes)
		}
	}
	for _, request := range apps {
		for _, q := range request {
			*of(&lasting, q.Type) += q.Bytes
		}
	}
	for i := range lasting {
		q := &lasting[i]
		q.Bytes = max(q.Bytes+*of(&sidecars, q.Type), *of(&starting, q.Type))
	}
	return lasting
}

// InitRequest is the request of an init container or a sidecar.
type InitRequest struct {
	Sidecar bool
	Request []Quantity
}

// of is the amount of a type in a list, which is added if it is missing.
func of(list *[]Quantity, name string) *uint64 {
	at := slices.IndexFunc(*list, func(q Quantity) bool { return q.Type == name })
	if at < 0 {
		at = len(*list)
		*list = append(*list, Quantity{Type: name})
	}
	return &(*list)[at].Bytes
}
