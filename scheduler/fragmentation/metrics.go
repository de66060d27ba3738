// SPDX-License-Identifier: Apache-2.0

package fragmentation

import (
	"strconv"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const (
	labelPool = "pool"
	labelCPUs = "cpus"
)

var (
	placeableVMs = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace:      "corepin",
		Name:           "placeable_vms",
		Help:           "How many more dedicated VMs with so many CPUs fit by the kubelets' decisions, if no other VM comes. Only the leader counts.",
		StabilityLevel: metrics.ALPHA,
	}, []string{labelPool, labelCPUs})

	strandedCPUs = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace:      "corepin",
		Name:           "stranded_cpus",
		Help:           "CPUs that kubelets could still grant, and that no further VM with so many CPUs can use. Only the leader counts.",
		StabilityLevel: metrics.ALPHA,
	}, []string{labelPool, labelCPUs})
)

// RegisterMetrics is to be called once. The series of pool "all" exist from then on, until the first Watch has other pools.
func RegisterMetrics() {
	legacyregistry.MustRegister(placeableVMs, strandedCPUs)
	set(poolAll, &counts{})
}

// publish sets the series of the pools, and removes those of pools that are gone. It gives the pools that have series now.
func publish(sums map[string]*counts, before map[string]bool) map[string]bool {
	now := map[string]bool{}
	for pool, c := range sums {
		set(pool, c)
		now[pool] = true
	}
	for pool := range before {
		if !now[pool] {
			remove(pool)
		}
	}
	return now
}

func set(pool string, c *counts) {
	for i, cpus := range sizes {
		size := strconv.FormatInt(cpus, 10)
		placeableVMs.WithLabelValues(pool, size).Set(float64(c.placeable[i]))
		strandedCPUs.WithLabelValues(pool, size).Set(float64(c.stranded[i]))
	}
}

func remove(pool string) {
	for _, cpus := range sizes {
		labels := map[string]string{labelPool: pool, labelCPUs: strconv.FormatInt(cpus, 10)}
		placeableVMs.Delete(labels)
		strandedCPUs.Delete(labels)
	}
}
