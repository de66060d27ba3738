// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"corepin.dev/corepin/pkg/simulation"
)

// The parts of the traces that are counted by themselves. Those of a churn have the names of its phases.
const fillPart = "fill"

var parts = []string{fillPart, phases[1].name, phases[3].name}

// gains is what came of the VMs of a part.
type gains struct {
	came, vms, cpus int // VMs that came, those that got a place, and their CPUs
	helped, moves   int // VMs that got a place after live migrations, and how many these were
	left            int // VMs that got no place, though all nodes together had the CPUs
}

// searches is what the searches for migrations cost, in CPU time.
type searches struct {
	count, cut     int // all, and those that ended at the limit of placements
	spent, longest time.Duration
}

// moved is what came of a class of traces, with at most so many migrations for a VM.
type moved struct {
	class, name string
	parts       map[string]*gains
	searches
}

// placer is where the VMs of a trace run: on the nodes of a fleet, or in the bound.
type placer interface {
	remover
	// migrating gives the VM's name, "" where it gets no place, and how many live migrations were made for it.
	migrating(ctx context.Context, vm size) (name string, moves int, err error)
	// enough reports whether the CPU that no VM requests would be enough, on whichever nodes it is.
	enough(vm size) bool
}

// runMoves measures all, prints the table and writes it.
func runMoves(ctx context.Context, out, list string, b bench) error {
	limits := []int{0}
	for text := range strings.SplitSeq(list, ",") {
		most, err := strconv.Atoi(text)
		if err != nil || most < 1 {
			return fmt.Errorf("-moves is %q; want numbers from 1 on, such as 1,2,3,5", list)
		}
		limits = append(limits, most)
	}
	var rows []moved
	for i := range classes {
		c := &classes[i]
		for _, most := range limits {
			row, err := b.moving(ctx, c, most)
			if err != nil {
				return fmt.Errorf("measuring trace %s, %s: %w", c.name, atMost(most), err)
			}
			rows = append(rows, *row)
			fmt.Fprintf(os.Stderr, "%s: %s", c.name, row.line())
		}
		bound, err := b.bound(ctx, c)
		if err != nil {
			return err
		}
		rows = append(rows, *bound)
	}
	text := movesTable(rows, b)
	fmt.Print(text)
	return write(out, map[string]string{"moves.txt": text})
}

// moving runs the traces of a class on fleets of the default contender.
func (b bench) moving(ctx context.Context, c *class, most int) (*moved, error) {
	who := &contenders[slices.IndexFunc(contenders, func(c contender) bool { return c.name == byDefault })]
	row := newMoved(c, atMost(most))
	err := row.run(ctx, c, b, func(trace func(ctx context.Context, at placer) error) error {
		return during(ctx, who, b, func(ctx context.Context, f *fleet) error {
			err := trace(ctx, &mover{f, most, &row.searches})
			if err == nil && f.everRefused > 0 {
				err = fmt.Errorf("kubelets refused %d pods, and should refuse none", f.everRefused)
			}
			return err
		})
	})
	return row, err
}

// bound runs the traces of a class on all nodes as one.
func (b bench) bound(ctx context.Context, c *class) (*moved, error) {
	row := newMoved(c, "bound")
	err := row.run(ctx, c, b, func(trace func(ctx context.Context, at placer) error) error {
		return trace(ctx, &pool{milli: b.milli()})
	})
	return row, err
}

func newMoved(c *class, name string) *moved {
	row := &moved{class: c.name, name: name, parts: map[string]*gains{}}
	for _, part := range parts {
		row.parts[part] = &gains{}
	}
	return row
}

// run runs each trace of a class on what during makes.
func (r *moved) run(ctx context.Context, c *class, b bench, during func(trace func(ctx context.Context, at placer) error) error) error {
	capacity := b.milli() / 1000
	for seed := range uint64(b.seeds) {
		fill := c.fill(seed, capacity, b.devices)
		err := during(func(ctx context.Context, at placer) error {
			return r.trace(ctx, fill, func(float64) string { return fillPart }, at)
		})
		if err != nil {
			return err
		}
		churn := c.churn(seed, capacity, b.devices)
		err = during(func(ctx context.Context, at placer) error { return r.trace(ctx, churn, phaseAt, at) })
		if err != nil {
			return err
		}
	}
	return nil
}

// phaseAt is the name of the phase of a churn at a time.
func phaseAt(at float64) string {
	return phases[slices.IndexFunc(phases, func(p phase) bool { return at <= p.until })].name
}

// trace runs a trace. part is the part in which a VM comes, "" where it is not counted.
func (r *moved) trace(ctx context.Context, trace []arrival, part func(at float64) string, at placer) error {
	var vms []resident
	for _, vm := range trace {
		var err error
		vms, err = leave(ctx, at, vms, vm.at)
		if err != nil {
			return err
		}
		enough := at.enough(vm.size)
		name, moves, err := at.migrating(ctx, vm.size)
		if err != nil {
			return err
		}
		counted := r.parts[part(vm.at)]
		if counted != nil {
			counted.add(&vm.size, name != "", moves, enough)
		}
		if name != "" {
			vms = append(vms, resident{vm, name})
		}
	}
	return nil
}

func (g *gains) add(vm *size, placed bool, moves int, enough bool) {
	g.came++
	g.moves += moves
	if moves > 0 {
		g.helped++
	}
	switch {
	case placed:
		g.vms++
		g.cpus += vm.cpus
	case enough:
		g.left++
	}
}

// pool is all nodes as one, with so much CPU that no VM requests.
type pool struct{ milli, vms int }

func (p *pool) enough(vm size) bool { return vm.milli() <= p.milli }

func (p *pool) migrating(_ context.Context, vm size) (name string, moves int, err error) {
	if !p.enough(vm) {
		return "", 0, nil
	}
	p.milli -= vm.milli()
	p.vms++
	return fmt.Sprint("vm-", p.vms), 0, nil
}

func (p *pool) remove(_ context.Context, _ string, vm size) error {
	p.milli += vm.milli()
	return nil
}

// mover is a fleet on which VMs move, at most so many for one that finds no node.
type mover struct {
	*fleet
	most     int
	searches *searches
}

func (m *mover) enough(vm size) bool {
	milli := 0
	for _, n := range m.nodes {
		milli += n.milli
	}
	return vm.milli() <= milli
}

// migrating places a VM, if need be after live migrations. What all nodes lack together, none of them makes free.
func (m *mover) migrating(ctx context.Context, vm size) (name string, moves int, err error) {
	name, err = m.place(ctx, vm, 0)
	if err != nil || name != "" || m.most == 0 || !m.enough(vm) {
		return name, 0, err
	}
	plan, err := m.search(vm)
	if err != nil || !plan.Found {
		return "", 0, err
	}
	for i := range plan.Migrations {
		err := m.migrate(ctx, &plan.Migrations[i])
		if err != nil {
			return "", 0, fmt.Errorf("migration %d of %d for a VM with %d CPUs: %w", i+1, len(plan.Migrations), vm.cpus, err)
		}
	}
	name, err = m.place(ctx, vm, 0)
	if err == nil && name == "" {
		err = fmt.Errorf("no node takes a VM with %d CPUs after %d migrations, and by the plan %s does", vm.cpus, len(plan.Migrations), plan.Then.Node)
	}
	return name, len(plan.Migrations), err
}

// search looks for migrations after which a VM fits.
func (m *mover) search(vm size) (*simulation.Plan, error) {
	cluster, targets := m.simulated()
	pod := simulatedPod("the VM that came", launcherPod("vm", vm))
	before, err := cpuTime()
	if err != nil {
		return nil, err
	}
	plan := cluster.Fit(pod, targets, simulation.Limits{Migrations: m.most, Placements: m.bench.placements})
	after, err := cpuTime()
	if err != nil {
		return nil, err
	}
	took := after - before
	m.searches.count++
	m.searches.spent += took
	m.searches.longest = max(m.searches.longest, took)
	if plan.Cut {
		m.searches.cut++
	}
	return plan, nil
}

// cpuTime is what this process has used so far: what else runs on the machine is not in it.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time used: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
