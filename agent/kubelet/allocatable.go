// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"hash/maphash"

	"google.golang.org/protobuf/encoding/protowire"

	"corepin.dev/corepin/pkg/cpuset"
)

// The fields of AllocatableResourcesResponse and the messages in it that are read
// (staging/src/k8s.io/kubelet/pkg/apis/podresources/v1/api.proto, v1.36.3).
const (
	answerDevices = 1
	answerCPUs    = 2

	devicesResource = 1
	devicesIDs      = 2
	devicesTopology = 3

	topologyNodes = 1
	nodeID        = 1
)

// field is a field of a message in protobuf's encoding: a number, or bytes that are a text or a message.
type field struct {
	number protowire.Number
	value  uint64
	bytes  []byte // nil where it is a number
}

// eachField calls f for each field of a message, in the order of the message. Fields of kinds that no known field has are
// passed over.
func eachField(message []byte, f func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		at := field{number: number}
		switch kind {
		case protowire.VarintType:
			at.value, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			at.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
			at.number = 0
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := f(at); err != nil {
			return err
		}
	}
	return nil
}

// fingerprint is a number that two answers have in common if they list the same, in whatever order: the kubelet lists its
// devices in the order of a Go map. Answers that are no message have one too, and decodeAllocatable refuses them.
func fingerprint(seed maphash.Seed, answer []byte) uint64 {
	sum := uint64(len(answer))
	err := eachField(answer, func(at field) error {
		var hash maphash.Hash
		hash.SetSeed(seed)
		maphash.WriteComparable(&hash, at.number)
		maphash.WriteComparable(&hash, at.value)
		_, _ = hash.Write(at.bytes) // it never fails
		sum += hash.Sum64()
		return nil
	})
	if err != nil {
		return maphash.Bytes(seed, answer)
	}
	return sum
}

// listedDevice is one entry of an answer's devices. What it refers to is in the answer.
type listedDevice struct {
	resource []byte
	ids      [][]byte
	nodes    []int64
}

// read reads an entry. It reuses what the last one had.
func (d *listedDevice) read(message []byte) error {
	d.resource = nil
	d.ids = d.ids[:0]
	d.nodes = d.nodes[:0]
	return eachField(message, func(at field) error {
		switch {
		case at.bytes == nil:
		case at.number == devicesResource:
			d.resource = at.bytes
		case at.number == devicesIDs:
			d.ids = append(d.ids, at.bytes)
		case at.number == devicesTopology:
			return eachField(at.bytes, d.readNode)
		}
		return nil
	})
}

// readNode reads a field of TopologyInfo.
func (d *listedDevice) readNode(at field) error {
	if at.number != topologyNodes || at.bytes == nil {
		return nil
	}
	node := int64(0) // a field that is 0 is left out
	err := eachField(at.bytes, func(at field) error {
		if at.number == nodeID && at.bytes == nil {
			node = int64(at.value)
		}
		return nil
	})
	d.nodes = append(d.nodes, node)
	return err
}

// decodeAllocatable reads an answer. The kubelet lists a device once for each of its NUMA nodes
// (containerDevicesFromResourceDeviceInstances in pkg/kubelet/cm/container_manager.go, v1.36.3). Nothing is kept of devices of
// resources of which none has a NUMA node. There may be thousands of those.
func decodeAllocatable(answer []byte) (allocatable, error) {
	a := allocatable{devices: map[string][]Device{}}
	aligned := map[string][]located{}
	var listed listedDevice
	err := eachField(answer, func(at field) error {
		switch {
		case at.number == answerCPUs:
			return a.addCPUs(at)
		case at.number == answerDevices && at.bytes != nil:
			if err := listed.read(at.bytes); err != nil {
				return err
			}
			_, known := a.devices[string(listed.resource)]
			if !known {
				a.devices[string(listed.resource)] = nil
			}
			_, found := aligned[string(listed.resource)]
			if len(listed.nodes) > 0 && !found {
				aligned[string(listed.resource)] = nil
			}
		}
		return nil
	})
	if err != nil {
		return allocatable{}, err
	}
	err = eachField(answer, func(at field) error {
		if at.number != answerDevices || at.bytes == nil {
			return nil
		}
		err := listed.read(at.bytes)
		devices, wanted := aligned[string(listed.resource)]
		if wanted {
			aligned[string(listed.resource)] = listed.addTo(devices)
		}
		return err
	})
	if err != nil {
		return allocatable{}, err
	}
	for resource, devices := range aligned {
		if a.devices[resource], err = devicesOf(devices); err != nil {
			return allocatable{}, fmt.Errorf("%.80s: %w", resource, err)
		}
	}
	return a, nil
}

// addTo adds each device of an entry, once for each of its NUMA nodes.
func (d *listedDevice) addTo(devices []located) []located {
	for _, id := range d.ids {
		text := string(id)
		if len(d.nodes) == 0 {
			devices = append(devices, located{text, withoutNUMANode})
		}
		for _, node := range d.nodes {
			devices = append(devices, located{text, node})
		}
	}
	return devices
}

// addCPUs reads field cpu_ids, which may be one number or a list of them.
func (a *allocatable) addCPUs(at field) error {
	if at.bytes == nil {
		return a.addCPU(at.value)
	}
	for rest := at.bytes; len(rest) > 0; {
		id, n := protowire.ConsumeVarint(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := a.addCPU(id); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (a *allocatable) addCPU(id uint64) error {
	if id >= cpuset.MaxCPUs {
		return fmt.Errorf("CPU %d is none", int64(id))
	}
	a.cpus.Add(int(id))
	return nil
}
