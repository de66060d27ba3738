// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// maxCells bounds the NUMA nodes of a guest; QEMU's own limit is the same (MAX_NODES, include/sysemu/numa.h, 7.2).
const maxCells = 128

// domain is what pinning needs of a domain's XML.
type domain struct {
	// vcpus are the numbers of the vCPUs that are online, ascending.
	vcpus []int
	// pluggable reports whether there are vCPUs that are not online.
	pluggable bool
	// threadsPerCore is at least 1.
	threadsPerCore int
	// ioThreads are the ids of the IO threads, ascending.
	ioThreads []int
	// The pins in libvirt's configuration. A thread without one is missing.
	vcpuPins, ioThreadPins map[int]cpuset.Set
	emulatorPin            cpuset.Set
	// near has, by vCPU, the host NUMA nodes that the memory of its guest NUMA node is bound to. It is nil where no
	// memory is bound.
	near map[int][]int
	// most is how many vCPUs, and how many IO threads, the guest may have.
	most int
}

// domainXML has the elements of libvirt's domain XML (libvirt.org/formatdomain.html) that are read.
type domainXML struct {
	XMLName xml.Name `xml:"domain"`
	VCPU    struct {
		Max     int  `xml:",chardata"`
		Current *int `xml:"current,attr"`
	} `xml:"vcpu"`
	VCPUs []struct {
		ID      int    `xml:"id,attr"`
		Enabled string `xml:"enabled,attr"`
	} `xml:"vcpus>vcpu"`
	Topology struct {
		Threads int `xml:"threads,attr"`
	} `xml:"cpu>topology"`
	Cells []struct {
		ID   *int   `xml:"id,attr"`
		CPUs string `xml:"cpus,attr"`
	} `xml:"cpu>numa>cell"`
	MemNodes []struct {
		Cell  int    `xml:"cellid,attr"`
		Mode  string `xml:"mode,attr"`
		Nodes string `xml:"nodeset,attr"`
	} `xml:"numatune>memnode"`
	IOThreads   int `xml:"iothreads"`
	IOThreadIDs []struct {
		ID int `xml:"id,attr"`
	} `xml:"iothreadids>iothread"`
	CPUTune struct {
		VCPUPins []struct {
			VCPU int    `xml:"vcpu,attr"`
			CPUs string `xml:"cpuset,attr"`
		} `xml:"vcpupin"`
		EmulatorPin *struct {
			CPUs string `xml:"cpuset,attr"`
		} `xml:"emulatorpin"`
		IOThreadPins []struct {
			IOThread int    `xml:"iothread,attr"`
			CPUs     string `xml:"cpuset,attr"`
		} `xml:"iothreadpin"`
	} `xml:"cputune"`
}

// parseDomain reads a domain's XML as libvirt prints it, of a guest that may have so many vCPUs and so many IO threads.
func parseDomain(text string, threads int) (*domain, error) {
	var x domainXML
	if err := xml.NewDecoder(strings.NewReader(text)).Decode(&x); err != nil {
		return nil, fmt.Errorf("parsing domain XML: %w", err)
	}
	d := &domain{threadsPerCore: max(x.Topology.Threads, 1), most: threads}
	for _, read := range []func(*domainXML) error{d.readVCPUs, d.readIOThreads, d.readPins, d.readNUMA} {
		if err := read(&x); err != nil {
			return nil, fmt.Errorf("reading domain XML: %w", err)
		}
	}
	return d, nil
}

// readVCPUs takes the vCPUs that libvirt lists, as it does where some were plugged. Where it lists none, it takes the
// current number of them, from 0 on.
func (d *domain) readVCPUs(x *domainXML) error {
	for _, vcpu := range x.VCPUs {
		if vcpu.Enabled == "yes" {
			d.vcpus = append(d.vcpus, vcpu.ID)
		} else {
			d.pluggable = true
		}
	}
	if len(x.VCPUs) == 0 {
		online := x.VCPU.Max
		if x.VCPU.Current != nil {
			online = *x.VCPU.Current
		}
		if err := d.checkNumber("vCPU", online); err != nil {
			return err
		}
		d.vcpus = count(0, online)
		d.pluggable = online < x.VCPU.Max
	}
	if len(d.vcpus) == 0 {
		return errors.New("element vcpu: no vCPU is online")
	}
	return d.checkIDs("vCPU", d.vcpus, 0)
}

// readIOThreads takes the ids that libvirt lists. Where it lists none, they are 1, 2 and so on.
func (d *domain) readIOThreads(x *domainXML) error {
	for _, thread := range x.IOThreadIDs {
		d.ioThreads = append(d.ioThreads, thread.ID)
	}
	if len(x.IOThreadIDs) == 0 {
		if err := d.checkNumber("IO thread", x.IOThreads); err != nil {
			return err
		}
		d.ioThreads = count(1, x.IOThreads)
	}
	return d.checkIDs("IO thread", d.ioThreads, 1)
}

// readPins takes the pins of the threads that there are.
func (d *domain) readPins(x *domainXML) error {
	d.vcpuPins = map[int]cpuset.Set{}
	d.ioThreadPins = map[int]cpuset.Set{}
	for _, pin := range x.CPUTune.VCPUPins {
		cpus, err := parseCPUs(pin.CPUs)
		if err != nil {
			return fmt.Errorf("vcpupin of vCPU %d: %w", pin.VCPU, err)
		}
		if has(d.vcpus, pin.VCPU) {
			d.vcpuPins[pin.VCPU] = cpus
		}
	}
	for _, pin := range x.CPUTune.IOThreadPins {
		cpus, err := parseCPUs(pin.CPUs)
		if err != nil {
			return fmt.Errorf("iothreadpin of IO thread %d: %w", pin.IOThread, err)
		}
		if has(d.ioThreads, pin.IOThread) {
			d.ioThreadPins[pin.IOThread] = cpus
		}
	}
	if pin := x.CPUTune.EmulatorPin; pin != nil {
		cpus, err := parseCPUs(pin.CPUs)
		if err != nil {
			return fmt.Errorf("emulatorpin: %w", err)
		}
		d.emulatorPin = cpus
	}
	return nil
}

// readNUMA reads where the memory of the guest's NUMA nodes (cells) is bound to, for the vCPUs in them. Memory that only
// prefers a node is not bound.
func (d *domain) readNUMA(x *domainXML) error {
	if len(x.Cells) > maxCells || len(x.MemNodes) > maxCells {
		return fmt.Errorf("%d NUMA nodes of the guest, and %d memnodes, are more than %d", len(x.Cells), len(x.MemNodes), maxCells)
	}
	nodes := map[int][]int{}
	for _, memory := range x.MemNodes {
		if memory.Mode != "" && memory.Mode != "strict" && memory.Mode != "restrictive" {
			continue
		}
		list, err := parseCPUs(memory.Nodes)
		if err != nil {
			return fmt.Errorf("memnode of cell %d: %w", memory.Cell, err)
		}
		nodes[memory.Cell] = list.List()
	}
	for i, cell := range x.Cells {
		id := i // libvirt's default
		if cell.ID != nil {
			id = *cell.ID
		}
		if len(nodes[id]) == 0 || cell.CPUs == "" {
			continue
		}
		vcpus, err := parseCPUs(cell.CPUs)
		if err != nil {
			return fmt.Errorf("CPUs of cell %d: %w", id, err)
		}
		if d.near == nil {
			d.near = map[int][]int{}
		}
		for _, vcpu := range d.vcpus {
			if vcpus.Has(vcpu) {
				d.near[vcpu] = nodes[id]
			}
		}
	}
	return nil
}

// has reports whether an id is among sorted ids.
func has(ids []int, id int) bool {
	_, found := slices.BinarySearch(ids, id)
	return found
}

// count gives n ids from first on.
func count(first, n int) []int {
	ids := make([]int, max(n, 0))
	for i := range ids {
		ids[i] = first + i
	}
	return ids
}

// checkNumber refuses more threads of one kind than the guest may have.
func (d *domain) checkNumber(what string, n int) error {
	if n > d.most {
		return fmt.Errorf("the guest has %d threads of kind %s, and for its granted CPUs at most %d are read", n, what, d.most)
	}
	return nil
}

// checkIDs sorts ids and refuses what cannot be threads of one guest.
func (d *domain) checkIDs(what string, ids []int, lowest int) error {
	if err := d.checkNumber(what, len(ids)); err != nil {
		return err
	}
	slices.Sort(ids)
	for i, id := range ids {
		if id < lowest || id > 1<<31-1 {
			return fmt.Errorf("%s %d is not a valid id", what, id)
		}
		if i > 0 && ids[i-1] == id {
			return fmt.Errorf("%s %d is listed twice", what, id)
		}
	}
	return nil
}

// parseCPUs reads libvirt's list of CPUs: the kernel's list format, where "^3" removes a CPU.
func parseCPUs(text string) (cpuset.Set, error) {
	var cpus cpuset.Set
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		without, excluded := strings.CutPrefix(part, "^")
		some, err := cpuset.Parse(without)
		if err != nil {
			return cpuset.Set{}, err
		}
		if excluded {
			cpus = cpus.Minus(some)
		} else {
			cpus = cpus.Union(some)
		}
	}
	return cpus, nil
}
