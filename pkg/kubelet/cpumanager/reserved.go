// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"errors"
	"fmt"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
)

// ErrHangs is the error for a kubelet that never finishes its start: see ReasonEndless.
var ErrHangs = errors.New("the kubelet would not get to the end of its start: " + errEndless.Message)

// ReservedByCount is what a kubelet 1.<version> reserves where its configuration gives an amount and no list. n is the
// sum of system and kube reserved CPU, rounded up. The CPUs are taken from the empty machine as for a container.
// It returns an error where the kubelet does not start, because those are not n CPUs. The error is ErrHangs where
// the kubelet hangs before it can tell (NewStaticPolicy in policy_static.go, v1.36.3).
func ReservedByCount(t *cputopology.Topology, c Config, version, n int) (cpuset.Set, error) {
	m := newMachine(t, minor(version))
	take := taking{machine: &m, free: t.CPUs(), need: n}
	err := take.run(&c.Options)
	cpus := take.taken
	switch {
	case errors.Is(err, errEndless):
		return cpuset.Set{}, fmt.Errorf("reserving %d CPUs: %w", n, ErrHangs)
	case err != nil:
		return cpuset.Set{}, fmt.Errorf("reserving %d of %d CPUs: the kubelet would not start: %w", n, m.cpus, err)
	case cpus.Len() != n:
		return cpuset.Set{}, fmt.Errorf("reserving %d of %d CPUs: the kubelet would not start: it would reserve %s", n, m.cpus, cpus)
	}
	return cpus, nil
}
