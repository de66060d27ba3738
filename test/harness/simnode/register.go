// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/quantity"
)

const (
	kubeletVersion = "v1.36.3" // of the packages that decide
	maxPods        = 110       // the kubelet's default
	// The kubelet's defaults of nodeLeaseDurationSeconds and of the fraction of it after which it renews.
	leaseSeconds = 40
	leaseRenewal = leaseSeconds / 4 * time.Second
)

// capacity is what the machine has. The devices are KubeVirt's device plugin's: as many as one could ask.
func (n *Node) capacity() corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(n.machine.NumCores), resource.DecimalSI),
		corev1.ResourceMemory:           n.memory,
		corev1.ResourcePods:             *resource.NewQuantity(maxPods, resource.DecimalSI),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
		"devices.kubevirt.io/kvm":       resource.MustParse("1k"),
		"devices.kubevirt.io/tun":       resource.MustParse("1k"),
		"devices.kubevirt.io/vhost-net": resource.MustParse("1k"),
	}
	for name, pages := range n.options.HugePages {
		size := pageSize(name)
		list[corev1.ResourceName(name)] = *resource.NewQuantity(size*pages*int64(len(n.machine.Topology)), resource.BinarySI)
	}
	return list
}

// pageSize is the size in the name of a resource such as hugepages-1Gi, in bytes; 0 for other names.
func pageSize(name string) int64 {
	size, err := quantity.Parse(strings.TrimPrefix(name, corev1.ResourceHugePagesPrefix))
	if err != nil {
		return 0
	}
	return size.Value()
}

// allocatable is the capacity without what is reserved, and without the memory that is kept from eviction.
func (n *Node) allocatable() corev1.ResourceList {
	list := n.capacity()
	for name := range n.options.HugePages {
		memory := list[corev1.ResourceMemory]
		memory.Sub(list[corev1.ResourceName(name)])
		list[corev1.ResourceMemory] = memory
	}
	// The settings are those of a kubelet that started: they parse.
	reserved, _, _ := n.settings.reservation()
	for name, amount := range map[corev1.ResourceName]resource.Quantity{
		corev1.ResourceCPU: reserved, corev1.ResourceMemory: resource.MustParse(evictionMemory),
	} {
		left := list[name]
		left.Sub(amount)
		list[name] = left
	}
	return list
}

// labels are those of every kubelet, and the node's own.
func (n *Node) labels() map[string]string {
	labels := map[string]string{
		corev1.LabelHostname:   n.options.Name,
		corev1.LabelArchStable: runtime.GOARCH,
		corev1.LabelOSStable:   runtime.GOOS,
	}
	maps.Copy(labels, n.options.Labels)
	return labels
}

// annotations are those of every kubelet. KubeVirt's admission policy for virt-handler takes a Node without any for an error.
func annotations() map[string]string {
	return map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
}

// register creates the Node object or takes over the one there is, then writes its status.
func (n *Node) register(ctx context.Context) error {
	nodes := n.client.CoreV1().Nodes()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		node, err := nodes.Get(ctx, n.options.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			fresh := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.options.Name, Labels: n.labels(), Annotations: annotations()}}
			n.setStatus(fresh)
			n.known, err = nodes.Create(ctx, fresh, metav1.CreateOptions{})
			return err
		}
		if err != nil {
			return err
		}
		if node.Labels == nil {
			node.Labels = map[string]string{}
		}
		maps.Copy(node.Labels, n.labels())
		if node.Annotations == nil {
			node.Annotations = map[string]string{}
		}
		maps.Copy(node.Annotations, annotations())
		if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			return err
		}
		n.setStatus(node)
		n.known, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("registering node %s: %w", n.options.Name, err)
	}
	return nil
}

// updateStatus writes what the Node has of the plugins' devices, and nothing else: others may write its taints meanwhile.
func (n *Node) updateStatus(ctx context.Context, l *life) error {
	capacity, allocatable := l.kubelet.DeviceAmounts()
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": capacity, "allocatable": allocatable}})
	if err == nil {
		n.known, err = n.client.CoreV1().Nodes().Patch(ctx, n.options.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		return fmt.Errorf("writing the status of node %s: %w", n.options.Name, err)
	}
	return nil
}

func (n *Node) setStatus(node *corev1.Node) {
	node.Status.Capacity, node.Status.Allocatable = n.capacity(), n.allocatable()
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: n.options.Name}}
	node.Status.NodeInfo = corev1.NodeSystemInfo{
		KubeletVersion:          kubeletVersion,
		OSImage:                 "simulated node",
		OperatingSystem:         runtime.GOOS,
		Architecture:            runtime.GOARCH,
		ContainerRuntimeVersion: containerRuntime + "://" + kubeletVersion,
	}
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	for _, condition := range []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	} {
		condition.LastHeartbeatTime = now
		setNodeCondition(node, condition, now)
	}
}

func setNodeCondition(node *corev1.Node, condition corev1.NodeCondition, now metav1.Time) {
	for i, old := range node.Status.Conditions {
		if old.Type != condition.Type {
			continue
		}
		condition.LastTransitionTime = old.LastTransitionTime
		if old.Status != condition.Status {
			condition.LastTransitionTime = now
		}
		node.Status.Conditions[i] = condition
		return
	}
	condition.LastTransitionTime = now
	node.Status.Conditions = append(node.Status.Conditions, condition)
}

// node gives the kubelet's admission the Node object: the current one, or with the API server away the
// last one seen.
func (n *Node) node(ctx context.Context, _ bool) (*corev1.Node, error) {
	node, err := n.client.CoreV1().Nodes().Get(ctx, n.options.Name, metav1.GetOptions{})
	if err == nil {
		n.known = node
	}
	if n.known == nil {
		return nil, fmt.Errorf("reading node %s: %w", n.options.Name, err)
	}
	return n.known, nil
}

// renewLease keeps the node's Lease renewed until ctx ends, with the kubelet's own controller.
func (n *Node) renewLease(ctx context.Context) {
	lease.NewController(clock.RealClock{}, n.client, n.options.Name, leaseSeconds, nil, leaseRenewal,
		n.options.Name, corev1.NamespaceNodeLease, ownedByNode(ctx, n.client, n.options.Name)).Run(ctx)
}

// ownedByNode makes a Lease go when its Node goes.
func ownedByNode(ctx context.Context, client kubernetes.Interface, name string) lease.ProcessLeaseFunc {
	return func(l *coordinationv1.Lease) error {
		if len(l.OwnerReferences) > 0 {
			return nil
		}
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("finding the owner of the lease of node %s: %w", name, err)
		}
		l.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: corev1.SchemeGroupVersion.WithKind("Node").Version, Kind: "Node", Name: name, UID: node.UID,
		}}
		return nil
	}
}
