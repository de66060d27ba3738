// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/nodemap"
	"corepin.dev/corepin/pkg/nodereport"
)

func (c *call) nodesCommand() *cobra.Command {
	color := colorAuto
	watch := false
	cmd := &cobra.Command{
		Use:   "nodes [-f FILE...] [--watch]",
		Short: "Draw each node's CPUs and who holds them",
		Long: `nodes draws the CPUs of each node, core by core, with who holds them.

The nodes are the NodeCPU objects of the input, and Pods in it give the holders their names. Without NodeCPU objects
in the input, nodes and pods are those of the cluster. Pods that are in flight to a node are drawn as if they
were there, and marked "(in flight)". The line "restart" says what the node's agent expects of the kubelet's next start:
which pods it would fail, "others" who else may run on the CPUs of dedicated VMs, and "siblings" how many granted CPUs
share a core with somebody else. With -o wide come the machine's settings that decide about latency, as its kernel says.
This needs permission to list nodecpus.corepin.dev, nodes and pods, cluster-wide.

On a terminal the letters have colours, unless NO_COLOR is set, and lines of a map are as long as the terminal is wide.

With --watch the cluster is drawn again when a NodeCPU changes: in place on a terminal, and below otherwise. It is read once a
second at most, and less often where reading it takes longer than a tenth of a second. Ctrl-C ends it. This needs permission to
watch nodecpus.corepin.dev.

Exit code: 0, or 2 if the command line or the input is wrong.`,
		Example: `  kubectl corepin nodes
  kubectl corepin nodes -l pool=vms --watch
  kubectl get nodecpus -o json | kubectl corepin nodes -f -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				return c.watchNodes(cmd.Context(), args, color)
			}
			return c.nodes(cmd.Context(), args, color)
		},
	}
	c.inputFlags(cmd)
	c.wideFlag(cmd)
	c.selectorFlag(cmd)
	cmd.Flags().StringVar(&color, "color", color, "Whether the letters of maps have colours: auto for on a terminal without NO_COLOR, always or never.")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "Draw the nodes again when a NodeCPU of the cluster changes, until Ctrl-C.")
	return cmd
}

func (c *call) nodes(ctx context.Context, args []string, color string) error {
	style, err := c.style(color)
	if err != nil {
		return err
	}
	if err := c.checkWide(); err != nil {
		return err
	}
	s, err := c.selectedNodes(ctx, args)
	if err != nil {
		return err
	}
	if c.names() {
		for _, m := range s.machines {
			c.out.named(nodeKind.Kind, m.name)
		}
	} else {
		s.printNodes(&c.out, c.output == wide, style)
	}
	return s.inputErrors()
}

// selectedNodes reads the nodes, and admits the pods that are on their way to them.
func (c *call) selectedNodes(ctx context.Context, args []string) (*snapshot, error) {
	s, err := c.snapshot(ctx, args)
	if err != nil {
		return nil, err
	}
	if err := c.selectNodes(s); err != nil {
		return nil, err
	}
	s.admitBound()
	return s, nil
}

// printNodes writes the nodes for people, in full if settings are to be there.
func (s *snapshot) printNodes(out *printer, settings bool, style nodemap.Style) {
	for i, m := range s.machines {
		if i > 0 {
			out.print("\n")
		}
		if m.report.Node == nil {
			out.printf("%s\n%s\n", m.name, m.report.Why)
			continue
		}
		m.print(out, settings)
		out.print("\n" + m.draw(style))
	}
}

// print writes what is to be said of a node.
func (m *machine) print(out *printer, settings bool) {
	out.printf("%s\n", m.name)
	if m.silent {
		out.printf("silent    the node is %s; what follows is as of then\n", nodereport.NotHeard(m.since))
	}
	for line := range strings.Lines(m.report.Node.String()) {
		out.printf("%s\n", strings.TrimSuffix(line, "\n"))
	}
	if m.report.State == nodereport.Inexact {
		out.printf("inexact   %s\n", m.report.Why)
	}
	if m.restart != "" {
		out.printf("restart   %s\n", m.restart)
	}
	if m.others != "" {
		out.printf("others    %s\n", m.others)
	}
	siblings := m.siblings()
	if siblings != "" {
		out.printf("siblings  %s\n", siblings)
	}
	if settings {
		out.print(m.settings())
	}
}

// watchNodes draws the nodes of the cluster again and again.
func (c *call) watchNodes(ctx context.Context, args []string, color string) error {
	if _, err := c.style(color); err != nil {
		return err
	}
	switch {
	case len(c.files.names)+len(args) > 0:
		return errors.New("--watch is of the cluster, and files do not change; leave -f or --watch out")
	case c.names():
		return errors.New("--watch draws maps; leave -o name out")
	case c.host.Watch == nil:
		return errors.New("--watch needs a cluster; there is none")
	}
	if err := c.checkWide(); err != nil {
		return err
	}
	live := &liveNodes{call: c, color: color}
	return c.host.Watch(ctx, live.changed)
}
