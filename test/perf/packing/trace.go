// SPDX-License-Identifier: Apache-2.0

package main

import "math/rand/v2"

// class is a kind of trace: how often which size comes.
type class struct {
	name  string
	sizes []share
	// emulator is what isolateEmulatorThread adds, to every fifth VM: 1, or 2 with KubeVirt's annotation
	// alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity on VMs of even size.
	emulator int
}

type share struct{ cpus, percent int }

var classes = []class{
	{"mixed", []share{{1, 15}, {2, 25}, {3, 5}, {4, 25}, {8, 15}, {16, 10}, {32, 5}}, 1},
	{"even", []share{{2, 30}, {4, 30}, {8, 20}, {16, 13}, {32, 7}}, 2},
}

const everyFifth = 5

// sidecarMilli is the CPU that runs beside each VM in the shared pool.
const sidecarMilli = 200

// size is what a VM's compute container asks for: exclusive CPUs, memory, huge pages of 1 GiB, and VFs.
type size struct{ cpus, gibibytes, pages, vfs int }

// milli is what the VM's pod requests of CPU, its sidecar included.
func (s *size) milli() int { return 1000*s.cpus + sidecarMilli }

func (s *size) add(t size) {
	s.cpus += t.cpus
	s.gibibytes += t.gibibytes
	s.pages += t.pages
	s.vfs += t.vfs
}

func (s *size) take(t size) { s.add(size{-t.cpus, -t.gibibytes, -t.pages, -t.vfs}) }

// arrival is a VM of a trace: when it comes and goes, in mean lifetimes of a VM.
type arrival struct {
	at, until float64
	size
}

// draw is the next VM: of CPUs with a GiB each, or with devices.
func (c *class) draw(dice *rand.Rand, devices bool) size {
	s := size{cpus: c.cpus(dice)}
	s.gibibytes = s.cpus
	if devices {
		s.furnish(dice)
	}
	return s
}

// furnish gives half of the VMs huge pages for memory, 1 or 2 GiB for each CPU. The others get 2, 4 or 8 GiB. Half of all VMs
// get one VF or two.
func (s *size) furnish(dice *rand.Rand) {
	if dice.IntN(2) == 0 {
		s.pages = s.cpus << dice.IntN(2)
		s.gibibytes = 1
	} else {
		s.gibibytes = 2 * s.cpus << dice.IntN(3)
	}
	if dice.IntN(2) == 0 {
		s.vfs = 1 + dice.IntN(2)
	}
}

func (c *class) cpus(dice *rand.Rand) int {
	roll := dice.IntN(100)
	for _, s := range c.sizes {
		if roll -= s.percent; roll >= 0 {
			continue
		}
		if dice.IntN(everyFifth) == 0 {
			return s.cpus + c.emulator
		}
		return s.cpus
	}
	return c.sizes[0].cpus
}

// mean is what a VM takes of a node on average, its sidecar included.
func (c *class) mean() float64 {
	mean := sidecarMilli/1000.0 + float64(c.emulator)/everyFifth
	for _, s := range c.sizes {
		mean += float64(s.cpus*s.percent) / 100
	}
	return mean
}

// overAsked is how much more a fill trace asks for than there is.
const overAsked = 1.1

// fill is VMs that stay, until overAsked times capacity CPUs are asked for.
func (c *class) fill(seed uint64, capacity int, devices bool) []arrival {
	dice := rand.New(rand.NewPCG(seed, 1))
	var trace []arrival
	for asked := 0.0; asked < overAsked*float64(capacity); {
		vm := c.draw(dice, devices)
		asked += float64(vm.cpus)
		trace = append(trace, arrival{at: asked / float64(capacity), until: 1000, size: vm})
	}
	return trace
}

// phase is a part of a churn trace: until when, how much is asked for, and whether it is measured.
type phase struct {
	until, load float64
	name        string // empty for the time in which the nodes fill
}

var phases = []phase{{1, 0.85, ""}, {2, 0.85, "85 %"}, {2.5, 1.15, ""}, {4, 1.15, "115 %"}}

// churn is VMs that come at random and stay for a random time.
func (c *class) churn(seed uint64, capacity int, devices bool) []arrival {
	dice := rand.New(rand.NewPCG(seed, 2))
	var trace []arrival
	now := 0.0
	for _, p := range phases {
		for rate := p.load * float64(capacity) / c.mean(); ; {
			next := now + dice.ExpFloat64()/rate
			if next > p.until {
				now = p.until
				break
			}
			now = next
			trace = append(trace, arrival{at: now, until: now + dice.ExpFloat64(), size: c.draw(dice, devices)})
		}
	}
	return trace
}
