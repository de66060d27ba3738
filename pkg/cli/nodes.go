package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (c *call) nodesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes [-f FILE...]",
		Short: "Draw each node's CPUs and who holds them",
		Long: `nodes draws the CPUs of each node, core by core, with who holds them.

The nodes are the NodeCPU objects of the input; Pods in it give the holders their names. Without
NodeCPU objects in the input, nodes and pods are those of the cluster. Pods that are on their way to a node
are drawn as if they were there, and marked "(in flight)". This needs permission to list nodecpus.corepin.dev,
nodes and pods, cluster-wide.

Exit code: 0, or 2 if the command line or the input is at fault.`,
		Example: `  kubectl corepin nodes
  kubectl get nodecpus -o json | kubectl corepin nodes -f -`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.nodes(cmd.Context(), args) },
	}
	c.inputFlags(cmd)
	c.accessFlags(cmd)
	return cmd
}

func (c *call) nodes(ctx context.Context, args []string) error {
	c.files.names = append(c.files.names, args...)
	s, err := c.situation(ctx)
	if err != nil {
		return err
	}
	for _, pod := range s.pods {
		if m := s.byName[pod.Spec.NodeName]; m != nil && !ended(pod) {
			m.admit(arriving(pod))
		}
	}
	for i, m := range s.machines {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		if m.node == nil {
			fmt.Fprintf(c.out, "%s\n%s\n", m.name, m.why)
			continue
		}
		fmt.Fprintf(c.out, "%s\n%s\n", m.name, m.node)
		if m.inexact != "" {
			fmt.Fprintf(c.out, "inexact   %s\n", m.inexact)
		}
		fmt.Fprintf(c.out, "\n%s", s.draw(m))
	}
	return s.flawed()
}
