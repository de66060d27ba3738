// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

// kubeVirts are the objects that configure KubeVirt: one in a cluster that has it.
var (
	kubeVirts   = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "kubevirts"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// kubeVirt watches the KubeVirt object, where there can be one: as long as its kind is defined. Watching a kind
// that is not would be a request that fails, from every agent, again and again.
type kubeVirt struct {
	definition cache.SharedIndexInformer
	client     dynamic.Interface

	mu     sync.Mutex
	object cache.SharedIndexInformer // nil while the kind is not defined
	cancel context.CancelFunc
}

func newKubeVirt(client dynamic.Interface, metadataClient metadata.Interface) *kubeVirt {
	return &kubeVirt{client: client, definition: informerOf(metadataClient, metadataClient.Resource(definitions), &metav1.PartialObjectMetadata{},
		metav1.ObjectNameField, kubeVirts.GroupResource().String())}
}

// run watches until ctx ends; changed is called when Object may be another.
func (k *kubeVirt) run(ctx context.Context, changed func()) {
	var watching sync.WaitGroup
	defer watching.Wait()
	follow := func() {
		k.follow(ctx, &watching, changed)
		changed()
	}
	if err := onChange(k.definition, follow); err != nil {
		return // the informer was stopped before it began
	}
	k.definition.RunWithContext(ctx)
}

// follow begins or ends to watch the object, as its kind comes and goes.
func (k *kubeVirt) follow(ctx context.Context, watching *sync.WaitGroup, changed func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defined := len(k.definition.GetIndexer().ListKeys()) > 0
	switch {
	case defined && k.object == nil:
		object := informerOf(k.client, k.client.Resource(kubeVirts), &unstructured.Unstructured{}, "", "")
		if err := onChange(object, changed); err != nil {
			return // it has not been started, so it takes handlers
		}
		inner, cancel := context.WithCancel(ctx)
		k.object = object
		k.cancel = cancel
		watching.Go(func() { object.RunWithContext(inner) })
		watching.Go(func() {
			if cache.WaitForCacheSync(inner.Done(), object.HasSynced) {
				changed() // that there is none is no change, but news
			}
		})
	case !defined && k.object != nil:
		k.cancel()
		k.object = nil
		k.cancel = nil
	}
}

// Object is the KubeVirt object, the first by name if there are several; nil where there is none. known is
// false before the API server has told.
func (k *kubeVirt) Object() (object *unstructured.Unstructured, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.definition.HasSynced() {
		return nil, false
	}
	if k.object == nil {
		// Between the news that the kind is defined and the beginning of the watch, nothing is known.
		return nil, len(k.definition.GetIndexer().ListKeys()) == 0
	}
	if !k.object.HasSynced() {
		return nil, false
	}
	for _, item := range k.object.GetIndexer().List() {
		candidate, ok := item.(*unstructured.Unstructured)
		if ok && (object == nil || candidate.GetNamespace()+"/"+candidate.GetName() < object.GetNamespace()+"/"+object.GetName()) {
			object = candidate
		}
	}
	return object, true
}
