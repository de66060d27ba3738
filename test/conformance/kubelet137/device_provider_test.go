package kubelet137

import (
	"context"
	"os"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/config"

	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
	"corepin.dev/corepin/test/conformance/kubelet136/plugin"
)

// deviceProvider is the device manager as a hint provider, with plugins that have registered.
type deviceProvider struct {
	*devicemanager.ManagerImpl
	inventory plugin.Inventory
}

// deviceFolder is held by the kubelet that has devices: they all would write the same file.
var deviceFolder sync.Mutex

func startDevices(c difftest.Config, store topologymanager.Store, pods func() []*corev1.Pod) (*deviceProvider, error) {
	deviceFolder.Lock()
	p, err := newDevices(c, store, pods)
	if err != nil {
		deviceFolder.Unlock()
		return nil, err
	}
	return p, nil
}

func newDevices(c difftest.Config, store topologymanager.Store, pods func() []*corev1.Pod) (*deviceProvider, error) {
	err := os.RemoveAll(plugin.Folder)
	if err != nil {
		return nil, err
	}
	manager, err := devicemanager.NewManagerImpl(logr.Discard(), machineInfo(c.Machine).Topology, store)
	if err != nil {
		return nil, err
	}
	ready := config.NewSourcesReady(func(sets.Set[string]) bool { return true })
	err = manager.Start(logr.Discard(), pods, ready, containermap.NewContainerMap(), sets.New[string]())
	if err != nil {
		return nil, err
	}
	p := &deviceProvider{ManagerImpl: manager}
	p.inventory = plugin.Inventory{Machine: c.Machine, Plugins: plugin.Plugins{}, Devices: p.ids}
	for _, r := range c.Devices {
		one := plugin.New(r)
		p.inventory.Plugins[r.Name] = one
		if err = manager.PluginConnected(context.Background(), r.Name, one); err != nil {
			return nil, err
		}
		manager.PluginListAndWatchReceiver(logr.Discard(), r.Name, one.List())
	}
	return p, nil
}

// ids are the devices that a container holds, by resource.
func (p *deviceProvider) ids(pod *corev1.Pod, container string) map[string][]string {
	ids := map[string][]string{}
	for resource, devices := range p.GetDevices(string(pod.UID), container) {
		for id := range devices {
			ids[resource] = append(ids[resource], id)
		}
	}
	return ids
}

func (p *deviceProvider) close() {
	defer deviceFolder.Unlock()
	err := p.Stop(logr.Discard())
	if err != nil {
		panic(err)
	}
}
