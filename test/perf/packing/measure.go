// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
)

// retries is how often a refused VM is tried again, where it is.
const retries = 5

// result is what came of one contender on one class of traces, averaged over the seeds.
type result struct {
	class, contender string
	ours             bool // corepin's
	bench            bench
	capacity         size

	// firstVMs and firstCPUs ran when for the first time a VM was refused or found no node.
	firstVMs, firstCPUs float64
	fill                figures // at the end
	churn               map[string]*figures
	retried             figures // the churn once more, with retries
	curve               []sample
	lost                float64 // VMs that fail when each kubelet is restarted at the end of a fill
	everRefused         int     // in all fills and churns, also between the phases that are shown
}

// figures are counts at one time, or means over a time.
type figures struct {
	binds, refused, vms, cpus, stranded, uneven float64
	pages, vfs                                  float64 // that VMs have
	pairs, shared                               float64 // of one application, and those of them on one host
	n                                           float64
}

func (f *figures) add(g figures) {
	f.binds, f.refused = f.binds+g.binds, f.refused+g.refused
	f.vms, f.cpus = f.vms+g.vms, f.cpus+g.cpus
	f.pages, f.vfs = f.pages+g.pages, f.vfs+g.vfs
	f.pairs, f.shared = f.pairs+g.pairs, f.shared+g.shared
	f.stranded, f.uneven, f.n = f.stranded+g.stranded, f.uneven+g.uneven, f.n+g.n
}

// mean divides what is a mean by the number of samples; binds and refusals stay sums.
func (f *figures) mean() {
	n := max(1, f.n)
	f.vms, f.cpus, f.stranded, f.uneven, f.n = f.vms/n, f.cpus/n, f.stranded/n, f.uneven/n, 1
	f.pages, f.vfs = f.pages/n, f.vfs/n
}

// onOneHost is the share of pairs of one application that share a host, in hundredths.
func (f *figures) onOneHost() float64 { return 100 * f.shared / max(1, f.pairs) }

// perThousand is the refusals per 1,000 binds.
func (f *figures) perThousand() float64 { return 1000 * f.refused / max(1, f.binds) }

// sample is a point of the plot: the first seed's churn.
type sample struct{ at, stranded float64 }

// samplesPerLifetime is how often a churn is looked at.
const samplesPerLifetime = 40

func measure(ctx context.Context, c class, who contender, b bench) (result, error) {
	r := result{bench: b, class: c.name, contender: who.name, ours: who.strategy != "", churn: map[string]*figures{}}
	for _, p := range phases {
		if p.name != "" {
			r.churn[p.name] = &figures{}
		}
	}
	for seed := range b.seeds {
		if err := r.runFill(ctx, &c, &who, uint64(seed)); err != nil {
			return r, err
		}
		if err := r.runChurn(ctx, &c, &who, uint64(seed)); err != nil {
			return r, err
		}
		// Of corepin no pod is refused, which judge sees to, so there is nothing to retry.
		if !r.ours {
			if err := r.runRetries(ctx, &c, &who, uint64(seed)); err != nil {
				return r, err
			}
		}
	}
	r.firstVMs /= float64(b.seeds)
	r.firstCPUs /= float64(b.seeds)
	r.lost /= float64(b.seeds)
	r.fill.mean()
	for _, f := range r.churn {
		f.mean()
	}
	return r, nil
}

// during runs a contender on new nodes.
func during(ctx context.Context, who *contender, b bench, do func(ctx context.Context, f *fleet) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := newFleet(ctx, who, b)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, f), f.stop())
}

func (r *result) runFill(ctx context.Context, c *class, who *contender, seed uint64) error {
	return during(ctx, who, r.bench, func(ctx context.Context, f *fleet) error {
		r.capacity = f.capacity
		first := true
		for _, vm := range c.fill(seed, f.capacity.cpus, r.bench.devices) {
			name, err := f.place(ctx, vm.size, 0)
			if err != nil {
				return err
			}
			if name == "" && first {
				first = false
				r.firstVMs, r.firstCPUs = r.firstVMs+float64(f.vms), r.firstCPUs+float64(f.has.cpus)
			}
		}
		r.fill.add(f.figures(c))
		r.everRefused += f.everRefused
		lost, err := f.restart(ctx)
		r.lost += float64(lost)
		return err
	})
}

// figures looks at the fleet as it is.
func (f *fleet) figures(c *class) figures {
	pairs, shared := f.together()
	return figures{pairs: float64(pairs), shared: float64(shared), binds: float64(f.binds), refused: float64(f.refused), vms: float64(f.vms), cpus: float64(f.has.cpus),
		pages: float64(f.has.pages), vfs: float64(f.has.vfs), stranded: f.stranded(c), uneven: f.unevenness(), n: 1}
}

func (r *result) runChurn(ctx context.Context, c *class, who *contender, seed uint64) error {
	return during(ctx, who, r.bench, func(ctx context.Context, f *fleet) error {
		err := f.churn(ctx, c, seed, 0, func(p *phase, at float64, looked figures) {
			if sum := r.churn[p.name]; sum != nil {
				sum.add(looked)
			}
			if seed == 0 {
				r.curve = append(r.curve, sample{at, looked.stranded})
			}
		})
		r.everRefused += f.everRefused
		return err
	})
}

func (r *result) runRetries(ctx context.Context, c *class, who *contender, seed uint64) error {
	return during(ctx, who, r.bench, func(ctx context.Context, f *fleet) error {
		return f.churn(ctx, c, seed, retries, func(p *phase, _ float64, looked figures) {
			if p.name == phases[1].name {
				r.retried.add(looked)
			}
		})
	})
}

// churn runs a churn trace and looks at the fleet from time to time; binds and refusals are those since the
// last look.
func (f *fleet) churn(ctx context.Context, c *class, seed uint64, retries int, look func(p *phase, at float64, looked figures)) error {
	var vms []resident
	step := 1.0 / samplesPerLifetime
	next, p := step, 0
	for _, vm := range c.churn(seed, f.capacity.cpus, f.bench.devices) {
		for ; next < vm.at; next += step {
			for next > phases[p].until {
				p++
			}
			look(&phases[p], next, f.figures(c))
			f.binds, f.refused = 0, 0
		}
		var err error
		vms, err = leave(ctx, f, vms, vm.at)
		if err != nil {
			return err
		}
		name, err := f.place(ctx, vm.size, retries)
		if err != nil {
			return err
		}
		if name != "" {
			vms = append(vms, resident{vm, name})
		}
	}
	return nil
}

// resident is a VM that runs.
type resident struct {
	arrival
	name string
}

// leave ends the VMs whose time is over, and gives the others.
func leave(ctx context.Context, from remover, vms []resident, at float64) ([]resident, error) {
	var stay []resident
	for _, vm := range vms {
		if vm.until > at {
			stay = append(stay, vm)
			continue
		}
		err := from.remove(ctx, vm.name, vm.size)
		if err != nil {
			return nil, err
		}
	}
	return stay, nil
}

// remover is where VMs end.
type remover interface {
	remove(ctx context.Context, name string, vm size) error
}
