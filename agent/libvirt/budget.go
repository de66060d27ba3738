// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"

	"golang.org/x/sync/semaphore"
)

const (
	// shortAnswer is what every guest may have answered at any time. The XML of a usual VM is shorter.
	shortAnswer = 32 << 10
	// nodeAnswers is what the longer answers of all guests may take together while they are read and used.
	nodeAnswers = 4 << 20
	// nodeParsers is how many guests' XML is parsed at one time. It is parsed into many times its length.
	nodeParsers = 2
	// fewThreads is how many vCPUs, and how many IO threads, any guest may have. Each granted CPU adds threadsPerCPU:
	// one for its vCPU, and KubeVirt's ioThreadsPolicy auto makes up to two IO threads a CPU.
	fewThreads    = 64
	threadsPerCPU = 2
)

// threadLimit is how many vCPUs, and how many IO threads, are read of a guest with so many granted CPUs. CPUs are
// granted to one guest at a time, so it bounds what the guests of a node may have the agent keep, however many there
// are.
func threadLimit(cpus int) int { return fewThreads + threadsPerCPU*cpus }

// budget is the memory of the node's agent that guests share. What a guest may have without it is bounded for each.
type budget struct {
	answers *semaphore.Weighted
	parsers *semaphore.Weighted
}

func newBudget() *budget {
	return &budget{answers: semaphore.NewWeighted(nodeAnswers), parsers: semaphore.NewWeighted(nodeParsers)}
}

// parse runs f, which parses a guest's XML, when others leave room for it.
func (b *budget) parse(ctx context.Context, f func() error) error {
	if err := b.parsers.Acquire(ctx, 1); err != nil {
		return err
	}
	defer b.parsers.Release(1)
	return f()
}
