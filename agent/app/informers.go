package app

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// informers are what the agent watches at the API server: its own node's objects and no others.
type informers struct {
	pods, node, configMap, report cache.SharedIndexInformer

	nodeName     string
	configMapKey config.ConfigMapRef
}

func newInformers(c *config.AgentConfiguration, nodeName string, client kubernetes.Interface, dynamicClient dynamic.Interface) *informers {
	ref := c.FeatureGates.ConfigMap
	indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	return &informers{
		nodeName: nodeName, configMapKey: ref,
		pods:      coreinformers.NewFilteredPodInformer(client, metav1.NamespaceAll, 0, indexers, only("spec.nodeName", nodeName)),
		node:      coreinformers.NewFilteredNodeInformer(client, 0, nil, only(metav1.ObjectNameField, nodeName)),
		configMap: coreinformers.NewFilteredConfigMapInformer(client, ref.Namespace, 0, nil, only(metav1.ObjectNameField, ref.Name)),
		report: dynamicinformer.NewFilteredDynamicInformer(dynamicClient, v1alpha1.Resource, metav1.NamespaceAll, 0, nil,
			only(metav1.ObjectNameField, nodeName)).Informer(),
	}
}

// only restricts an informer to the objects whose field has a value.
func only(field, value string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) { o.FieldSelector = fields.OneTermEqualSelector(field, value).String() }
}

func (i *informers) all() map[string]cache.SharedIndexInformer {
	return map[string]cache.SharedIndexInformer{"pods": i.pods, "node": i.node, "configMap": i.configMap, "report": i.report}
}

// Node is the agent's Node; an error of NotFound where there is none, or none is known yet.
func (i *informers) Node() (*corev1.Node, error) {
	return corelisters.NewNodeLister(i.node.GetIndexer()).Get(i.nodeName)
}

// FeatureGates is the ConfigMap with the feature gates, nil where there is none; known is false before the
// API server has told.
func (i *informers) FeatureGates() (configMap *corev1.ConfigMap, known bool) {
	if !i.configMap.HasSynced() {
		return nil, false
	}
	lister := corelisters.NewConfigMapLister(i.configMap.GetIndexer()).ConfigMaps(i.configMapKey.Namespace)
	configMap, err := lister.Get(i.configMapKey.Name)
	if err != nil {
		return nil, true // a lister has no other error than NotFound
	}
	return configMap, true
}

// onChange calls f after every change of what an informer watches.
func onChange(informer cache.SharedIndexInformer, f func()) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { f() },
		UpdateFunc: func(any, any) { f() },
		DeleteFunc: func(any) { f() },
	})
	return err
}

// onVersion calls f with the resource version of an object after every change, with "" when it is gone.
func onVersion(informer cache.SharedIndexInformer, f func(resourceVersion string)) error {
	seen := func(object any) {
		if accessor, err := meta.Accessor(object); err == nil {
			f(accessor.GetResourceVersion())
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(_, object any) { seen(object) },
		DeleteFunc: func(any) { f("") },
	})
	return err
}
