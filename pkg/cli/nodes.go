// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/nodereport"
)

func (c *call) nodesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes [-f FILE...]",
		Short: "Draw each node's CPUs and who holds them",
		Long: `nodes draws the CPUs of each node, core by core, with who holds them.

The nodes are the NodeCPU objects of the input, and Pods in it give the holders their names. Without NodeCPU objects
in the input, nodes and pods are those of the cluster. Pods that are in flight to a node are drawn as if they
were there, and marked "(in flight)". The line "restart" says what the node's agent expects of the kubelet's next start:
which pods it would fail, "others" who else may run on the CPUs of dedicated VMs, and "siblings" how many granted CPUs
share a core with somebody else. With -o wide come the machine's settings that decide about latency, as its kernel says.
This needs permission to list nodecpus.corepin.dev, nodes and pods, cluster-wide.

Exit code: 0, or 2 if the command line or the input is wrong.`,
		Example: `  kubectl corepin nodes
  kubectl get nodecpus -o json | kubectl corepin nodes -f -`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.nodes(cmd.Context(), args) },
	}
	c.inputFlags(cmd)
	c.wideFlag(cmd)
	c.selectorFlag(cmd)
	return cmd
}

func (c *call) nodes(ctx context.Context, args []string) error {
	if err := c.checkWide(); err != nil {
		return err
	}
	s, err := c.snapshot(ctx, args)
	if err != nil {
		return err
	}
	if err := c.selectNodes(s); err != nil {
		return err
	}
	if c.names() {
		for _, m := range s.machines {
			c.out.named(nodeKind.Kind, m.name)
		}
		return s.inputErrors()
	}
	s.admitBound()
	for i, m := range s.machines {
		if i > 0 {
			c.out.print("\n")
		}
		if m.report.Node == nil {
			c.out.printf("%s\n%s\n", m.name, m.report.Why)
			continue
		}
		c.out.printf("%s\n", m.name)
		if m.silent {
			c.out.printf("silent    the node is %s; what follows is as of then\n", nodereport.NotHeard(m.since))
		}
		for line := range strings.Lines(m.report.Node.String()) {
			c.out.printf("%s\n", strings.TrimSuffix(line, "\n"))
		}
		if m.report.State == nodereport.Inexact {
			c.out.printf("inexact   %s\n", m.report.Why)
		}
		if m.restart != "" {
			c.out.printf("restart   %s\n", m.restart)
		}
		if m.others != "" {
			c.out.printf("others    %s\n", m.others)
		}
		siblings := m.siblings()
		if siblings != "" {
			c.out.printf("siblings  %s\n", siblings)
		}
		if c.output == wide {
			c.out.print(m.settings())
		}
		c.out.print("\n" + m.draw())
	}
	return s.inputErrors()
}
