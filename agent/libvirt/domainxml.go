package libvirt

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/cpuset"
)

// maxThreads bounds the vCPUs and the IO threads of a guest; libvirt's own limit for vCPUs is the same
// (REMOTE_VCPUINFO_MAX, src/remote/remote_protocol.x).
const maxThreads = 16384

// domain is what pinning needs of a domain's XML.
type domain struct {
	// vcpus are the numbers of the vCPUs that are online, ascending.
	vcpus []int
	// pluggable tells that there are vCPUs that are not online.
	pluggable bool
	// threadsPerCore is at least 1.
	threadsPerCore int
	// ioThreads are the ids of the IO threads, ascending.
	ioThreads []int
	// What libvirt is told to pin; a thread it is told nothing about is missing.
	vcpuPins, ioThreadPins map[int]cpuset.Set
	emulatorPin            cpuset.Set
	// near has, by vCPU, the host NUMA nodes that the memory of its guest NUMA node is bound to; nil where none is.
	near map[int][]int
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

// parseDomain reads a domain's XML as libvirt prints it.
func parseDomain(text string) (*domain, error) {
	var x domainXML
	if err := xml.Unmarshal([]byte(text), &x); err != nil {
		return nil, fmt.Errorf("parsing domain XML: %w", err)
	}
	d := &domain{threadsPerCore: max(x.Topology.Threads, 1)}
	for _, read := range []func(*domainXML) error{d.readVCPUs, d.readIOThreads, d.readPins, d.readNUMA} {
		if err := read(&x); err != nil {
			return nil, fmt.Errorf("reading domain XML: %w", err)
		}
	}
	return d, nil
}

// readVCPUs takes the vCPUs one by one where libvirt lists them (it does where some were plugged), else the first
// current of them.
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
		d.vcpus, d.pluggable = count(0, online), online < x.VCPU.Max
	}
	if len(d.vcpus) == 0 {
		return fmt.Errorf("element vcpu: no vCPU between 1 and %d is online", maxThreads)
	}
	return checkIDs("vCPU", d.vcpus, 0)
}

// readIOThreads takes the ids where libvirt lists them, else those it gives by itself: 1, 2, ...
func (d *domain) readIOThreads(x *domainXML) error {
	for _, thread := range x.IOThreadIDs {
		d.ioThreads = append(d.ioThreads, thread.ID)
	}
	if len(x.IOThreadIDs) == 0 {
		d.ioThreads = count(1, x.IOThreads)
	}
	return checkIDs("IO thread", d.ioThreads, 1)
}

func (d *domain) readPins(x *domainXML) error {
	d.vcpuPins, d.ioThreadPins = map[int]cpuset.Set{}, map[int]cpuset.Set{}
	for _, pin := range x.CPUTune.VCPUPins {
		cpus, err := parseCPUs(pin.CPUs)
		if err != nil {
			return fmt.Errorf("vcpupin of vCPU %d: %w", pin.VCPU, err)
		}
		d.vcpuPins[pin.VCPU] = cpus
	}
	for _, pin := range x.CPUTune.IOThreadPins {
		cpus, err := parseCPUs(pin.CPUs)
		if err != nil {
			return fmt.Errorf("iothreadpin of IO thread %d: %w", pin.IOThread, err)
		}
		d.ioThreadPins[pin.IOThread] = cpus
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

// readNUMA takes where the memory of the guest's NUMA nodes (cells) is bound to, for the vCPUs in them. Memory that is
// but preferred somewhere binds nothing.
func (d *domain) readNUMA(x *domainXML) error {
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
		id := i // as libvirt numbers them where it is not said
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
		for vcpu := range vcpus.All() {
			d.near[vcpu] = nodes[id]
		}
	}
	return nil
}

// count gives n ids from first on, none where n is not a sensible number.
func count(first, n int) []int {
	if n < 0 || n > maxThreads {
		return nil
	}
	ids := make([]int, n)
	for i := range ids {
		ids[i] = first + i
	}
	return ids
}

// checkIDs sorts ids and refuses what cannot be threads of one guest.
func checkIDs(what string, ids []int, lowest int) error {
	if len(ids) > maxThreads {
		return fmt.Errorf("%d of kind %s are more than %d", len(ids), what, maxThreads)
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

// parseCPUs reads libvirt's list of CPUs: the kernel's list format, where "^3" takes a CPU out again.
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
