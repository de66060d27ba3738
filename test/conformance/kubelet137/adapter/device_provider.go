// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"os"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/config"

	"corepin.dev/corepin/test/conformance/kubelet136/difftest"
	"corepin.dev/corepin/test/conformance/kubelet136/plugin"
)

// deviceProvider is the device manager as a hint provider, with its plugins.
type deviceProvider struct {
	*devicemanager.ManagerImpl
	inventory  plugin.Inventory
	pods       func() []*corev1.Pod
	ready      bool // All pods have been seen.
	registered bool // The plugins are.
}

// deviceFolder is held by the kubelet that has devices: they all would write the same file.
var deviceFolder sync.Mutex

// startDevices starts a device manager on a node without pods, and lets its plugins register.
func startDevices(c difftest.Config, store topologymanager.Store, pods func() []*corev1.Pod) (*deviceProvider, error) {
	deviceFolder.Lock()
	p := &deviceProvider{pods: pods, ready: true}
	p.inventory = plugin.Inventory{Machine: c.Machine, Plugins: plugin.Plugins{}, Devices: p.ids}
	for _, r := range c.Devices {
		p.inventory.Plugins[r.Name] = plugin.New(r)
	}
	err := os.RemoveAll(plugin.Folder)
	if err == nil {
		err = p.start(c, store)
	}
	if err == nil {
		err = p.register()
	}
	if err != nil {
		deviceFolder.Unlock()
		return nil, err
	}
	return p, nil
}

// restart starts a device manager over the checkpoint of the one before. No plugin has registered yet.
func (p *deviceProvider) restart(c difftest.Config, store topologymanager.Store) error {
	err := p.Stop(logr.Discard())
	if err != nil {
		return err
	}
	p.ready = false
	p.registered = false
	return p.start(c, store)
}

func (p *deviceProvider) start(c difftest.Config, store topologymanager.Store) (err error) {
	p.ManagerImpl, err = devicemanager.NewManagerImpl(logr.Discard(), machineInfo(c.Machine).Topology, store)
	if err != nil {
		return err
	}
	ready := config.NewSourcesReady(func(sets.Set[string]) bool { return p.ready })
	containers, running := plugin.Running(p.pods())
	return p.Start(logr.Discard(), p.pods, ready, containers, running)
}

// register lets the plugins register that have not.
func (p *deviceProvider) register() error {
	for name, one := range p.inventory.Plugins {
		if p.registered {
			break
		}
		err := p.PluginConnected(context.Background(), name, one)
		if err != nil {
			return err
		}
		p.PluginListAndWatchReceiver(logr.Discard(), name, one.List())
	}
	p.registered = true
	return nil
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
