// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/page"
)

// asHTML is the form of an answer as a page for a browser.
const asHTML = "html"

func (c *call) reportCommand() *cobra.Command {
	scheduler := shippedArgs
	var shapes []string
	file := ""
	form := ""
	cmd := &cobra.Command{
		Use:   "report [-f FILE...] [--shape cpus=8,memory=32Gi] [--file OUT.html]",
		Short: "Write the cluster as one HTML page: all nodes, what waits and why, where is room",
		Long: `report writes one HTML page about the cluster or a dump: a map of all nodes, each node's CPUs core by core with who holds
them, what waits for a node and why in the words of explain, and how many more VMs of each size fit as capacity counts them.

The page is a single file. It loads nothing, sends nothing, and can be opened, mailed and printed. It names nodes,
namespaces, pods and VMs. kubectl corepin dump --mask-names makes a dump without names, and report -f makes a page of that.

What is shown is in the address: #node=NAME opens a node, #q=TEXT searches for VMs, namespaces and nodes, and #show=cpus=8
colours the map by the room for a size. #q=state:silent, #q=has:drift and the like find what their names say.

Pods that wait for the same reasons are one entry, at most 20. What would help is looked for on the 20 nearest nodes only;
explain asks all of them. The page is of the moment that it names. Of files other than a dump that is the latest time in
them.

This needs what explain and capacity need: ClusterRole corepin-explain.

Exit code: 0, or 2 if the command line or the input is wrong, or the file exists already.`,
		Example: `  kubectl corepin report > cluster.html
  kubectl corepin dump > cluster.json; kubectl corepin report -f cluster.json --file cluster.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if form != asHTML {
				return fmt.Errorf("--output is %q; want html", form)
			}
			return c.report(cmd.Context(), shapes, file, &scheduler)
		},
	}
	c.inputFlags(cmd)
	c.schedulerFlag(cmd)
	scheduler.addFlags(cmd)
	cmd.Flags().StringVarP(&form, "output", "o", asHTML, "The form of the answer: html.")
	cmd.Flags().StringArrayVar(&shapes, "shape", nil, "The amounts of one virtual machine, such as cpus=8,memory=32Gi. May be given again.")
	cmd.Flags().StringVar(&file, "file", "", "The file to write, which is not there yet. Without it, standard output.")
	return cmd
}

func (c *call) report(ctx context.Context, shapes []string, file string, scheduler *schedulerArgs) error {
	estimate, strictness, err := scheduler.read()
	if err != nil {
		return err
	}
	if _, err := parseSchedulers(c.schedulers); err != nil {
		return err
	}
	s, err := c.view(ctx)
	if err != nil {
		return err
	}
	s.estimate = estimate
	sizes, err := s.shapes(shapes)
	if err != nil {
		return err
	}
	p := &page.Page{}
	moment := s.asOf()
	if !moment.IsZero() {
		p.AsOf = nodereport.Moment(moment)
	}
	p.Waiting = c.pageWaiting(ctx, s, strictness)
	s.admitThere()
	s.addNodes(p)
	for _, size := range sizes {
		addSize(p, s.count(size))
	}
	return c.writePage(p, file)
}

// admitThere admits the pods that are bound, as the commands do that look at nodes: those of a cluster in the order of their
// creation, those of files in the order of the input. Explanations have to be made before.
func (s *view) admitThere() {
	if !s.live {
		s.admitBound()
		return
	}
	pods := slices.Clone(s.pods)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for _, pod := range pods {
		s.name(pod)
	}
	for _, pod := range pods {
		s.arrive(pod)
	}
}

// addSize adds what capacity counts.
func addSize(p *page.Page, t *capacity) {
	size := page.Size{Shape: harmless(t.Shape), Fit: t.Fit, Nodes: t.taking(), Left: t.left(), Reasons: harmless(t.stranded())}
	for _, line := range t.lines() {
		size.Groups = append(size.Groups, harmless(line))
	}
	p.Sizes = append(p.Sizes, size)
	for i := range t.Nodes { // the machines are the first nodes of the page, in the same order
		p.Nodes[i].Room = append(p.Nodes[i].Room, t.Nodes[i].Fit)
	}
}

func (c *call) writePage(p *page.Page, file string) error {
	var text bytes.Buffer
	if err := p.Write(&text); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if file == "" {
		c.out.print(text.String())
		return nil
	}
	out, err := c.host.Create(file)
	if err != nil {
		return fmt.Errorf("creating the page: %w", err)
	}
	size := text.Len()
	_, err = text.WriteTo(out)
	err = errors.Join(err, out.Close())
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	c.out.printf("%s: %d nodes, %d KiB\n", file, len(p.Nodes), (size+1023)/1024)
	return nil
}
