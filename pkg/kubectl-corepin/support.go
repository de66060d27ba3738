// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"corepin.dev/corepin/pkg/cli"
)

// The labels of each object in corepin's manifests, and of its pods.
const (
	ownObjects = "app.kubernetes.io/part-of=corepin"
	ownPods    = "app.kubernetes.io/name in (corepin-agent,corepin-scheduler)"
)

// own lists corepin's workloads, pods and ConfigMaps in a namespace. What was read before an error is given too.
func (c connection) own(ctx context.Context, namespace string) ([]map[string]any, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	var all []map[string]any
	for _, kind := range []struct {
		resource schema.GroupVersionResource
		selector string
	}{
		{appsv1.SchemeGroupVersion.WithResource("deployments"), ownObjects},
		{appsv1.SchemeGroupVersion.WithResource("daemonsets"), ownObjects},
		{corev1.SchemeGroupVersion.WithResource("configmaps"), ownObjects},
		{corev1.SchemeGroupVersion.WithResource("pods"), ownPods},
	} {
		options := metav1.ListOptions{Limit: pageSize, LabelSelector: kind.selector}
		err := each(ctx, client.Resource(kind.resource).Namespace(namespace), options, func(object *unstructured.Unstructured) error {
			all = append(all, object.Object)
			return nil
		})
		if err != nil {
			return all, fmt.Errorf("listing %s: %w", kind.resource.Resource, err)
		}
	}
	return all, nil
}

// events lists the events that a source told, in all namespaces. An event without a source has its reporting controller as
// one (ToSelectableFields in pkg/registry/core/event/strategy.go, v1.36.3).
func (c connection) events(ctx context.Context, source string) ([]map[string]any, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	var all []map[string]any
	err = each(ctx, client.Resource(corev1.SchemeGroupVersion.WithResource("events")), metav1.ListOptions{Limit: pageSize, FieldSelector: "source=" + source}, func(object *unstructured.Unstructured) error {
		all = append(all, object.Object)
		return nil
	})
	return all, err
}

// log opens a container's log.
func (c connection) log(ctx context.Context, of *cli.LogOf) (io.ReadCloser, error) {
	config, err := c.config.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	options := &corev1.PodLogOptions{Container: of.Container, Previous: of.Previous, SinceSeconds: ptr.To(int64(of.Since.Seconds())), TailLines: ptr.To(of.Lines)}
	return client.CoreV1().Pods(of.Namespace).GetLogs(of.Pod, options).Stream(ctx)
}
