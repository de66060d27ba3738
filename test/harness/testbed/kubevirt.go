// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"corepin.dev/corepin/test/harness/crd"
	"corepin.dev/corepin/test/harness/simnode"
	"corepin.dev/corepin/test/harness/virtapi"
	"corepin.dev/corepin/test/harness/virtcontroller"
	"corepin.dev/corepin/test/harness/virthandler"
)

// applyStandIns makes the definitions and accounts of the stand-ins, and puts the one for virt-api in force.
func (t *Testbed) applyStandIns(ctx, inner context.Context) error {
	api, err := virtapi.New(filepath.Join(t.options.Dir, "virt-api"))
	if err != nil {
		return err
	}
	t.goRun(inner, "the virt-api stand-in", api.Run)
	for _, manifest := range [][]byte{crd.KubeVirt, virtcontroller.Manifest, api.Manifest()} {
		if err := t.Apply(ctx, manifest); err != nil {
			return err
		}
	}
	return nil
}

// startVirtController starts the stand-in, unless a real one is there.
func (t *Testbed) startVirtController(ctx, inner context.Context) error {
	if t.options.KubeVirt != nil {
		return nil
	}
	path, err := t.ServiceAccountKubeconfig(ctx, virtcontroller.Namespace, virtcontroller.ServiceAccount)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return fmt.Errorf("reading the virt-controller's kubeconfig: %w", err)
	}
	t.goRun(inner, "the virt-controller stand-in", func(ctx context.Context) error { return virtcontroller.Run(ctx, config) })
	return nil
}

// startVirtHandlers starts the stand-in for virt-handler: one for all nodes, also for those that come later. A real KubeVirt looks for
// which node a token speaks, so beside it each node of the testbed has one. The Nodes must be there.
func (t *Testbed) startVirtHandlers(ctx, inner context.Context) error {
	if t.options.KubeVirt == nil {
		path, err := t.ServiceAccountKubeconfig(ctx, virtcontroller.Namespace, virtcontroller.HandlerAccount)
		if err != nil {
			return err
		}
		return t.startVirtHandler(inner, path, "", t.options.Machines...)
	}
	for _, machine := range t.options.Machines {
		path, err := t.NodeBoundKubeconfig(ctx, virtcontroller.Namespace, virtcontroller.HandlerAccount, machine.Name)
		if err != nil {
			return err
		}
		if err := t.startVirtHandler(inner, path, machine.Name, machine); err != nil {
			return err
		}
	}
	return nil
}

// startVirtHandler starts the handler of a node, "" for all, and the heartbeats of those machines that have one.
func (t *Testbed) startVirtHandler(inner context.Context, kubeconfig, node string, machines ...Machine) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the virt-handler's kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making the virt-handler's client: %w", err)
	}
	options := virthandler.Options{Config: config, Node: node, Up: t.domainUp}
	t.goRun(inner, "the virt-handler stand-in "+node, func(ctx context.Context) error { return virthandler.Run(ctx, options) })
	for _, machine := range machines {
		if machine.Heartbeat {
			t.goRun(inner, "the heartbeat of "+machine.Name, func(ctx context.Context) error { return virthandler.KeepAlive(ctx, client, machine.Name) })
		}
	}
	return nil
}

// domainUp reports whether the guest of a VMI runs: a simulated kubelet knows; of a pod on a real one it is taken for up once
// the pod is ready.
func (t *Testbed) domainUp(ctx context.Context, vmi *unstructured.Unstructured) bool {
	selector := metav1.ListOptions{LabelSelector: "kubevirt.io/created-by=" + string(vmi.GetUID())}
	pods, err := t.Client().CoreV1().Pods(vmi.GetNamespace()).List(ctx, selector)
	if err != nil {
		return false // asked again
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		sim := t.simulated(pod.Spec.NodeName)
		if sim != nil && sim.GuestRuns(pod.UID) || sim == nil && podReady(pod) {
			return true
		}
	}
	return false
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// simulated is the simulated node of that name, nil for another.
func (t *Testbed) simulated(name string) *simnode.Node {
	t.mu.Lock()
	defer t.mu.Unlock()
	node := t.Nodes[name]
	if node == nil {
		return nil
	}
	return node.Sim
}
