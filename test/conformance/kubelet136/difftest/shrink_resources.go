// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"slices"

	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// simplerResources gives the scenarios that have one thing less of memory and devices.
func simplerResources(s scenario) []scenario {
	var all []scenario
	if s.memory != nil {
		t := s
		t.memory = nil
		all = append(all, t)
	}
	for i := range s.devices {
		t := s
		t.devices = slices.Delete(slices.Clone(s.devices), i, i+1)
		if len(t.devices) == 0 {
			t.devices = nil
		}
		all = append(all, t)
	}
	for i := range s.devices {
		for k := range s.devices[i].Devices {
			t := s
			t.devices = slices.Clone(s.devices)
			t.devices[i].Devices = slices.Delete(slices.Clone(s.devices[i].Devices), k, k+1)
			all = append(all, t)
		}
	}
	for i, step := range s.steps {
		for c := range step.wants {
			for _, want := range simplerWants(step.wants[c]) {
				t := s
				t.steps = slices.Clone(s.steps)
				t.steps[i].wants = slices.Clone(step.wants)
				t.steps[i].wants[c] = want
				all = append(all, t)
			}
		}
	}
	return all
}

// simplerWants gives a container with one amount less, or a smaller one.
func simplerWants(c admission.Container) []admission.Container {
	var all []admission.Container
	for i := range c.Memory {
		d := c
		d.Memory = slices.Delete(slices.Clone(c.Memory), i, i+1)
		all = append(all, d)
	}
	for i := range c.Devices {
		d := c
		d.Devices = slices.Delete(slices.Clone(c.Devices), i, i+1)
		all = append(all, d)
		if c.Devices[i].Count > 0 {
			d.Devices = slices.Clone(c.Devices)
			d.Devices[i].Count--
			all = append(all, d)
		}
	}
	return all
}

// knowsDevices reports whether a machine has all the NUMA nodes of devices.
func knowsDevices(m *cputopology.Topology, resources []DeviceResource) bool {
	for _, r := range resources {
		for _, device := range r.Devices {
			for _, id := range device.NUMANodes {
				if !slices.ContainsFunc(m.NUMANodes(), func(n cputopology.NUMANode) bool { return n.ID == id }) {
					return false
				}
			}
		}
	}
	return true
}
