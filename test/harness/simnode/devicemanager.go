// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	_ "unsafe" // for go:linkname

	cadvisor "github.com/google/cadvisor/info/v1"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// devicesDir is where the device manager listens for plugins and keeps its checkpoint.
const devicesDir = "device-plugins"

// newDeviceManager is the kubelet's device manager in a directory of one's own. The exported constructor has the directory of
// a host's kubelet in it (NewManagerImpl in pkg/kubelet/cm/devicemanager/manager.go, v1.36.3).
//
//go:linkname newDeviceManager k8s.io/kubernetes/pkg/kubelet/cm/devicemanager.newManagerImpl
func newDeviceManager(logger klog.Logger, socketPath string, topology []cadvisor.Node, affinity topologymanager.Store) (*devicemanager.ManagerImpl, error)

// Device is a device as its plugin lists it.
type Device struct {
	ID        string
	NUMANodes []int64
	Unhealthy bool
}

// startDevices starts the device manager. running are the pods whose containers run: to a kubelet that starts, these have
// their devices already.
func (k *Kubelet) startDevices(o KubeletOptions, affinity topologymanager.Store) error {
	logger := klog.Background()
	var err error
	k.devices, err = newDeviceManager(logger, filepath.Join(o.RootDir, devicesDir, "kubelet.sock"), o.Machine.Topology, affinity)
	if err != nil {
		return fmt.Errorf("making the device manager: %w", err)
	}
	ids := containermap.NewContainerMap()
	runs := sets.New[string]()
	for _, pod := range o.Running {
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			id := fmt.Sprintf("%s.%s", pod.UID, container.Name)
			ids.Add(string(pod.UID), container.Name, id)
			runs.Insert(id)
		}
	}
	if err := k.devices.Start(logger, k.activePods, sources{&k.ready}, ids, runs); err != nil {
		return fmt.Errorf("starting the device manager: %w", err)
	}
	return nil
}

// SetDevices is what the plugin of a resource lists from now on. The first list registers the plugin.
func (k *Kubelet) SetDevices(resource string, devices []Device) error {
	if err := k.devices.PluginConnected(context.Background(), resource, plugin{resource: resource}); err != nil {
		return fmt.Errorf("registering the plugin of %s: %w", resource, err)
	}
	list := &pluginapi.ListAndWatchResponse{}
	for _, device := range devices {
		d := &pluginapi.Device{ID: device.ID, Health: pluginapi.Healthy}
		if device.Unhealthy {
			d.Health = pluginapi.Unhealthy
		}
		for _, node := range device.NUMANodes {
			d.Topology = &pluginapi.TopologyInfo{Nodes: append(d.GetTopology().GetNodes(), &pluginapi.NUMANode{ID: node})}
		}
		list.Devices = append(list.Devices, d)
	}
	k.devices.PluginListAndWatchReceiver(klog.Background(), resource, list)
	return nil
}

// DeviceAmounts are the resources of device plugins as the Node's status has them.
func (k *Kubelet) DeviceAmounts() (capacity, allocatable corev1.ResourceList) {
	if k.devices == nil {
		return nil, nil
	}
	capacity, allocatable, _ = k.devices.GetCapacity()
	return capacity, allocatable
}

// updatePlugins is what the fit predicate asks of the device manager: devices that a pod has been given count as
// allocatable.
func (k *Kubelet) updatePlugins(node *framework.NodeInfo, attributes *lifecycle.PodAdmitAttributes) error {
	if k.devices == nil {
		return nil
	}
	return k.devices.UpdatePluginResources(node, attributes)
}

// plugin is a device plugin that agrees to everything.
type plugin struct{ resource string }

func (p plugin) API() pluginapi.DevicePluginClient { return pluginClient{} }
func (p plugin) Resource() string                  { return p.resource }
func (p plugin) SocketPath() string                { return "" }

type pluginClient struct{ pluginapi.DevicePluginClient }

func (pluginClient) GetDevicePluginOptions(context.Context, *pluginapi.Empty, ...grpc.CallOption) (*pluginapi.DevicePluginOptions, error) {
	return &pluginapi.DevicePluginOptions{}, nil
}

func (pluginClient) Allocate(_ context.Context, request *pluginapi.AllocateRequest, _ ...grpc.CallOption) (*pluginapi.AllocateResponse, error) {
	answer := &pluginapi.AllocateResponse{}
	for _, container := range request.GetContainerRequests() {
		envs := map[string]string{"DEVICES": fmt.Sprint(container.GetDevicesIds())}
		answer.ContainerResponses = append(answer.ContainerResponses, &pluginapi.ContainerAllocateResponse{Envs: envs})
	}
	return answer, nil
}

// SetDevices is what the plugin of a resource lists from now on, in this life of the kubelet and in those to come. The Node's
// status says so too.
func (n *Node) SetDevices(ctx context.Context, resource string, devices []Device) error {
	return n.ask(request{keep: func(l *life) error {
		if n.devices == nil {
			return fmt.Errorf("the node was made without devices")
		}
		n.devices[resource] = devices
		if l == nil {
			return nil
		}
		if err := l.kubelet.SetDevices(resource, devices); err != nil {
			return err
		}
		return n.updateStatus(ctx, l)
	}})
}

// registerPlugins lists the devices of all plugins, as they do some time after a kubelet has started.
func (n *Node) registerPlugins(ctx context.Context, l *life) error {
	for _, resource := range slices.Sorted(maps.Keys(n.devices)) {
		if err := l.kubelet.SetDevices(resource, n.devices[resource]); err != nil {
			return err
		}
	}
	if len(n.devices) == 0 {
		return nil
	}
	return n.updateStatus(ctx, l)
}

// runningPods are the pods whose containers run on the machine.
func (n *Node) runningPods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, state := range n.pods {
		if state.sandbox != nil && !state.over() {
			pods = append(pods, state.pod)
		}
	}
	return pods
}

// podSource answers the podresources server about pods.
type podSource struct{ k *Kubelet }

func (s podSource) GetActivePods() []*corev1.Pod { return s.k.pods() }
func (s podSource) GetPods() []*corev1.Pod       { return s.k.pods() }

func (s podSource) GetPodByName(namespace, name string) (*corev1.Pod, bool) {
	for _, pod := range s.k.pods() {
		if pod.Namespace == namespace && pod.Name == name {
			return pod, true
		}
	}
	return nil, false
}
