package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cli"
)

// pageSize is how many objects are asked for at once; it spares the API server.
const pageSize = 500

// askCluster reads the reports and the pods of the cluster that kubectl would talk to.
func askCluster(ctx context.Context, access cli.Access) (cli.Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = access.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: access.Context}).ClientConfig()
	if err != nil {
		return cli.Cluster{}, fmt.Errorf("finding the cluster (there are no NodeCPU objects in the input; give them, or a --kubeconfig): %w", err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return cli.Cluster{}, fmt.Errorf("connecting to the cluster: %w", err)
	}
	var cluster cli.Cluster
	if cluster.Reports, err = list[v1alpha1.NodeCPU](ctx, client.Resource(v1alpha1.Resource)); err != nil {
		return cli.Cluster{}, fmt.Errorf("listing NodeCPU objects (is corepin installed in the cluster?): %w", err)
	}
	if cluster.Pods, err = list[corev1.Pod](ctx, client.Resource(corev1.SchemeGroupVersion.WithResource("pods"))); err != nil {
		return cli.Cluster{}, fmt.Errorf("listing pods: %w", err)
	}
	return cluster, nil
}

// list reads all objects of a kind, page by page.
func list[T any](ctx context.Context, resource dynamic.ResourceInterface) ([]T, error) {
	var all []T
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := resource.List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			var object T
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(page.Items[i].Object, &object); err != nil {
				return nil, fmt.Errorf("reading %s: %w", page.Items[i].GetName(), err)
			}
			all = append(all, object)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return all, nil
		}
	}
}
