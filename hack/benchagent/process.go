// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// usage is what a process has used of its machine.
type usage struct {
	cpu      float64 // of one core
	resident int     // bytes, at most
}

// sample is how often the resident memory is read.
const sample = time.Second

// ticks is the kernel's unit of CPU time in /proc (USER_HZ), the same on every architecture that we build for.
const ticks = 100

// watchProcess watches the agent for a while.
func (n *node) watchProcess(ctx context.Context, period time.Duration) (usage, error) {
	pid := n.agent.Agent.PID()
	first, err := cpuTime(pid)
	if err != nil {
		return usage{}, err
	}
	start := time.Now()
	var used usage
	ticker := time.NewTicker(sample)
	defer ticker.Stop()
	for time.Since(start) < period {
		select {
		case <-ctx.Done():
			return usage{}, ctx.Err()
		case <-ticker.C:
		}
		resident, err := residentBytes(pid)
		if err != nil {
			return usage{}, err
		}
		used.resident = max(used.resident, resident)
	}
	last, err := cpuTime(pid)
	if err != nil {
		return usage{}, err
	}
	used.cpu = (last - first).Seconds() / time.Since(start).Seconds()
	return used, nil
}

// cpuTime is the CPU time of a process, user and system, so far: fields 14 and 15 of its stat, counted
// from behind the name, which may hold anything.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the agent's CPU time: %w", err)
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("reading the agent's CPU time: %q: %w", data, err)
	}
	return time.Duration(user+system) * time.Second / ticks, nil
}

func residentBytes(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the agent's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("reading the agent's memory: no VmRSS in %q", data)
}

// quantile is the value that a part q of all values does not exceed.
func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
