// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"corepin.dev/corepin/test/harness/process"
)

// round is the four runs of one kind of pods at one size, in the order in which they were made.
type round struct {
	nodes int
	pods  string
	runs  []run
}

// run is one of them.
type run struct {
	scenario
	result
}

// measureScheduling runs every case at every size and writes the table.
func measureScheduling(ctx context.Context, o *options) error {
	var rounds []round
	for _, nodes := range o.nodes {
		for n := range o.rounds {
			for pods := range strings.SplitSeq(o.pods, ",") {
				first := n%2 == 1
				r := round{nodes: nodes, pods: pods}
				for _, plugin := range []bool{first, !first, !first, first} {
					c := scenario{plugin, pods}
					result, err := o.inChild(ctx, &c, nodes, fmt.Sprintf("%s-%d-%d", c.name(), nodes, len(rounds)*4+len(r.runs)))
					if err != nil {
						return fmt.Errorf("measuring %s with %d nodes: %w", c.name(), nodes, err)
					}
					r.runs = append(r.runs, run{c, *result})
				}
				rounds = append(rounds, r)
				// At once, so that what was measured is not lost with what comes.
				if err := os.WriteFile(filepath.Join(o.out, tableFile), []byte(table(rounds)), 0o644); err != nil {
					return fmt.Errorf("writing the results: %w", err)
				}
			}
		}
	}
	return o.write(tableFile, table(rounds))
}

// inChild runs a case in a process of its own.
func (o *options) inChild(ctx context.Context, c *scenario, nodes int, name string) (*result, error) {
	fmt.Fprintf(os.Stderr, "%s, %d nodes\n", c.name(), nodes)
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	file, err := os.CreateTemp("", "scale")
	if err != nil {
		return nil, fmt.Errorf("making a file for the result: %w", err)
	}
	file.Close()
	defer os.Remove(file.Name())
	cmd := exec.CommandContext(ctx, self, "-one", file.Name(), "-nodes", fmt.Sprint(nodes), "-pods", c.pods, "-out", o.out, fmt.Sprintf("-plugin=%t", c.plugin))
	if o.profile != "" {
		cmd.Args = append(cmd.Args, "-cpuprofile", o.profile+"."+name)
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := process.StartTied(cmd); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	result := &result{}
	if err := json.Unmarshal(text, result); err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	return result, nil
}
