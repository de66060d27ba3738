// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cli"
)

// pageSize is how many objects are asked for at once, to spare the API server.
const pageSize = 500

// connection is the cluster that kubectl would talk to with the same flags.
type connection struct {
	config *genericclioptions.ConfigFlags
	// dial makes a client of the API server.
	dial func(*rest.Config) (dynamic.Interface, error)
}

// cluster reads the reports, the nodes and the pods.
func (c connection) cluster(ctx context.Context) (cli.Cluster, error) {
	client, err := c.client()
	if err != nil {
		return cli.Cluster{}, err
	}
	cluster := cli.Cluster{}
	if cluster.Namespace, _, err = c.config.ToRawKubeConfigLoader().Namespace(); err != nil {
		return cli.Cluster{}, fmt.Errorf("reading the namespace of the kubeconfig's context: %w", err)
	}
	if cluster.Reports, err = list[v1alpha1.NodeCPU](ctx, client.Resource(v1alpha1.Resource)); err != nil {
		return cli.Cluster{}, fmt.Errorf("listing NodeCPU objects (is corepin installed in the cluster?): %w%s", err, remedy(err))
	}
	if cluster.Nodes, err = list[corev1.Node](ctx, client.Resource(corev1.SchemeGroupVersion.WithResource("nodes"))); err != nil {
		return cli.Cluster{}, fmt.Errorf("listing nodes: %w%s", err, remedy(err))
	}
	if cluster.Pods, err = list[corev1.Pod](ctx, client.Resource(corev1.SchemeGroupVersion.WithResource("pods"))); err != nil {
		return cli.Cluster{}, fmt.Errorf("listing pods: %w%s", err, remedy(err))
	}
	return cluster, nil
}

// vmis are the versions under which KubeVirt serves a VirtualMachineInstance, the newest first.
var vmis = []schema.GroupVersionResource{
	{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"},
	{Group: "kubevirt.io", Version: "v1alpha3", Resource: "virtualmachineinstances"},
}

// vmi reads a VirtualMachineInstance.
func (c connection) vmi(ctx context.Context, name types.NamespacedName) (map[string]any, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	for _, resource := range vmis {
		object, getErr := client.Resource(resource).Namespace(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
		if getErr == nil {
			return object.Object, nil
		}
		if err = getErr; !apierrors.IsNotFound(err) {
			break
		}
	}
	if apierrors.IsNotFound(err) {
		return nil, cli.NoVMI(name)
	}
	return nil, fmt.Errorf("getting VirtualMachineInstance %s: %w%s", name, err, remedy(err))
}

// instancetypeVersions are those of KubeVirt's instancetypes and preferences, the newest first.
var instancetypeVersions = []string{"v1", "v1beta1"}

// revisionLabel is on the revisions in which KubeVirt keeps instancetypes and preferences.
const revisionLabel = "instancetype.kubevirt.io/object-kind"

// listAny lists a resource of KubeVirt; nothing where the cluster does not serve it.
func (c connection) listAny(ctx context.Context, resource string) ([]map[string]any, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	served := vmis
	options := metav1.ListOptions{Limit: pageSize}
	switch resource {
	case cli.ResourceVMIs:
	case cli.ResourceMigrations:
		served = []schema.GroupVersionResource{migrations}
	case cli.ResourceRevisions:
		served = []schema.GroupVersionResource{{Group: "apps", Version: "v1", Resource: resource}}
		options.LabelSelector = revisionLabel
	default:
		served = nil
		for _, version := range instancetypeVersions {
			served = append(served, schema.GroupVersionResource{Group: "instancetype.kubevirt.io", Version: version, Resource: resource})
		}
	}
	for _, version := range served {
		var all []map[string]any
		err := each(ctx, client.Resource(version), options, func(object *unstructured.Unstructured) error {
			all = append(all, object.Object)
			return nil
		})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			next := remedy(err)
			switch resource {
			case cli.ResourceRevisions:
				next = "" // no role of corepin's allows it: others' pods are in those too
			case cli.ResourceMigrations:
				next = remedyWith(err, rebalanceRole)
			}
			return nil, fmt.Errorf("listing %s: %w%s", resource, err, next)
		}
		return all, nil
	}
	return nil, nil
}

func (c connection) client() (dynamic.Interface, error) {
	config, err := c.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster (there are no NodeCPU objects in the input; give them, or a --kubeconfig): %w", err)
	}
	client, err := c.dial(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	return client, nil
}

// serverVersion asks the API server for its version. Everybody who is authenticated may ask.
func (c connection) serverVersion() (string, error) {
	config, err := c.config.ToRESTConfig()
	if err != nil {
		return "", fmt.Errorf("finding the cluster: %w", err)
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return "", fmt.Errorf("connecting to the cluster: %w", err)
	}
	info, err := client.ServerVersion()
	if err != nil {
		return "", fmt.Errorf("asking the API server for its version: %w", err)
	}
	return info.GitVersion, nil
}

// The ClusterRoles of corepin's manifests for people: for commands that only read, and for rebalance --apply.
const (
	explainRole   = "corepin-explain"
	rebalanceRole = "corepin-rebalance"
)

// remedy is the next step after an error of the API server; "" where there is none to name.
func remedy(err error) string { return remedyWith(err, explainRole) }

// remedyWith is remedy where the role is what is needed.
func remedyWith(err error, role string) string {
	if apierrors.IsForbidden(err) {
		return fmt.Sprintf("; ask for ClusterRole %s, which corepin's manifests bring: kubectl create clusterrolebinding NAME --clusterrole=%s --user=YOU", role, role)
	}
	return ""
}

// list reads all objects of a kind.
func list[T any](ctx context.Context, resource dynamic.ResourceInterface) ([]T, error) {
	var all []T
	err := each(ctx, resource, metav1.ListOptions{Limit: pageSize}, func(read *unstructured.Unstructured) error {
		var object T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(read.Object, &object); err != nil {
			return fmt.Errorf("reading %s: %w", read.GetName(), err)
		}
		all = append(all, object)
		return nil
	})
	return all, err
}

// each reads all objects that options select, page by page.
func each(ctx context.Context, resource dynamic.ResourceInterface, options metav1.ListOptions, take func(*unstructured.Unstructured) error) error {
	for {
		page, err := resource.List(ctx, options)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := take(&page.Items[i]); err != nil {
				return err
			}
		}
		options.Continue = page.GetContinue()
		if options.Continue == "" {
			return nil
		}
	}
}
