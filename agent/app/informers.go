// SPDX-License-Identifier: Apache-2.0

package app

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// informers are what the agent watches at the API server: its own node's objects and no others.
type informers struct {
	pods, node, configMap, report cache.SharedIndexInformer

	line *line // of the report's watch

	nodeName     string
	configMapKey config.ConfigMapRef
}

// newInformers makes informers that do not run yet; client is what core is a part of.
func newInformers(c *config.AgentConfiguration, nodeName string, client any, core typedcorev1.CoreV1Interface, dynamicClient dynamic.Interface) *informers {
	ref := c.FeatureGates.ConfigMap
	line := newLine(clock.RealClock{})
	reports := listening[*unstructured.UnstructuredList]{dynamicClient.Resource(v1alpha1.Resource), line}
	i := &informers{
		line: line, nodeName: nodeName, configMapKey: ref,
		pods:      informerOf(client, core.Pods(metav1.NamespaceAll), &corev1.Pod{}, "spec.nodeName", nodeName),
		node:      informerOf(client, core.Nodes(), &corev1.Node{}, metav1.ObjectNameField, nodeName),
		configMap: informerOf(client, core.ConfigMaps(ref.Namespace), &corev1.ConfigMap{}, metav1.ObjectNameField, ref.Name),
		report:    informerOf(dynamicClient, reports, &unstructured.Unstructured{}, metav1.ObjectNameField, nodeName),
	}
	_ = i.pods.SetTransform(slim) // fails only for an informer that was started
	return i
}

// slim leaves of a pod what somebody here reads. There are hundreds on a node, and what is in them is mostly
// for the kubelet.
func slim(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil // the last known state of one that is gone
	}
	pod.ManagedFields = nil
	pod.Spec.Volumes = nil
	pod.Spec.Tolerations = slices.DeleteFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return t.Effect != "" && t.Effect != corev1.TaintEffectNoExecute
	})
	pod.Spec.Affinity = requiredOfNode(pod.Spec.Affinity)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			containers[i] = corev1.Container{Name: containers[i].Name, Resources: containers[i].Resources, RestartPolicy: containers[i].RestartPolicy}
		}
	}
	return pod, nil
}

// requiredOfNode leaves of an affinity what a kubelet reads again when it starts.
func requiredOfNode(affinity *corev1.Affinity) *corev1.Affinity {
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution,
	}}
}

func (i *informers) all() map[string]cache.SharedIndexInformer {
	return map[string]cache.SharedIndexInformer{"pods": i.pods, "node": i.node, "configMap": i.configMap, "report": i.report}
}

// Node is the agent's Node; an error of NotFound where there is none, or none is known yet.
func (i *informers) Node() (*corev1.Node, error) {
	return corelisters.NewNodeLister(i.node.GetIndexer()).Get(i.nodeName)
}

// Pods are the node's pods; nil before the API server has listed them.
func (i *informers) Pods() []*corev1.Pod {
	if !i.pods.HasSynced() {
		return nil
	}
	// A lister over a cache fails only for a selector that does not parse.
	pods, _ := corelisters.NewPodLister(i.pods.GetIndexer()).List(labels.Everything())
	if pods == nil {
		return []*corev1.Pod{}
	}
	return pods
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

// onArrival calls f after an object has come.
func onArrival(informer cache.SharedIndexInformer, f func()) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { f() }})
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
