// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"corepin.dev/corepin/pkg/status"
	"corepin.dev/corepin/pkg/version"
)

// statusPause is the time between two looks with --wait.
const statusPause = 2 * time.Second

func (c *call) statusCommand() *cobra.Command {
	wait := false
	timeout := 5 * time.Minute
	cmd := &cobra.Command{
		Use:   "status [-f DUMP]",
		Short: "Say whether corepin is all right in the cluster, and if not, which command says more",
		Long: `status says who leads, which versions run, which agents are heard from, who sets the feature gate CPUManager, which
nodes are predicted exactly, what kubelets did with predicted VMs, which VMs wait, which dedicated VMs have no CPUs of
their own, and whose threads have drifted. Each line is ok, a note, or a PROBLEM with the command that says more.

A VM that waits is a problem after a minute. So is a node without a report.

With --wait it looks again every two seconds until there is no problem, or until --wait-timeout.

With -o json each line is an object: {"subject","state","text","more"}, state is ok, note or problem.

Exit code: 0 there is no problem, 1 there is one, 2 the command line is wrong or the cluster cannot be read.`,
		Example: `  kubectl corepin status
  kubectl corepin status --wait --wait-timeout 2m
  kubectl corepin dump > cluster.json; kubectl corepin status -f cluster.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !wait {
				timeout = 0
			}
			return c.status(cmd.Context(), timeout)
		},
	}
	c.inputFlags(cmd)
	c.outputFlag(cmd)
	c.schedulerFlag(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "Look again until there is no problem.")
	cmd.Flags().DurationVar(&timeout, "wait-timeout", timeout, "How long to wait with --wait.")
	return cmd
}

func (c *call) status(ctx context.Context, timeout time.Duration) error {
	asJSON, err := c.json()
	if err != nil {
		return err
	}
	if err := c.dumpOnly(); err != nil {
		return err
	}
	end := c.host.Now().Add(timeout)
	lines, err := c.statusLines(ctx)
	for err == nil && status.Problems(lines) > 0 && c.files.dump == nil && c.host.Now().Before(end) {
		if err = c.host.Pause(ctx, statusPause); err == nil {
			c.leases = nil
			lines, err = c.statusLines(ctx)
		}
	}
	if err != nil {
		return err
	}
	problems := status.Problems(lines)
	if problems > 0 {
		c.refuse()
	}
	for i := range lines {
		if asJSON {
			c.out.encode(&lines[i])
		} else {
			c.printStatus(&lines[i])
		}
	}
	if !asJSON {
		c.out.printf("%s\n", sumOfProblems(problems))
	}
	return nil
}

func sumOfProblems(problems int) string {
	switch problems {
	case 0:
		return "all is right"
	case 1:
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", problems)
}

// stateTexts are the states for people.
var stateTexts = map[status.State]string{status.OK: "ok", status.Note: "note", status.Problem: "PROBLEM"}

func (c *call) printStatus(line *status.Line) {
	c.out.printf("%-7s  %-11s  %s\n", stateTexts[line.State], line.Subject, line.Text)
	if line.More != "" {
		c.out.printf("%-7s  %-11s  more: %s\n", "", "", line.More)
	}
}

// statusLines looks at the cluster once.
func (c *call) statusLines(ctx context.Context) ([]status.Line, error) {
	cluster, err := c.host.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	names, err := parseSchedulers(c.schedulers)
	if err != nil {
		return nil, err
	}
	asked := &status.Cluster{Now: c.host.Now(), Reports: cluster.Reports, Nodes: cluster.Nodes, Pods: cluster.Pods, Version: version.Get().Version}
	var unknown []status.Line
	if c.host.ServerVersion != nil && c.files.dump == nil {
		asked.Server, err = c.host.ServerVersion()
		if err != nil {
			unknown = append(unknown, status.Line{Subject: "versions", State: status.Note, Text: "whether the scheduler fits the API server is not known: " + err.Error()})
		}
	}
	for _, profile := range slices.Sorted(maps.Keys(names)) {
		asked.Schedulers = append(asked.Schedulers, c.leader(ctx, profile, names[profile]))
	}
	return append(status.Of(asked), unknown...), nil
}

// leader says who leads under a profile.
func (c *call) leader(ctx context.Context, profile string, where leaseName) status.Scheduler {
	scheduler := status.Scheduler{Profile: profile, Namespace: where.namespace}
	if c.host.Lease == nil {
		scheduler.Unknown = "no cluster is asked"
		return scheduler
	}
	lease, err := c.lease(ctx, where)
	if err == nil && !lease.leads() {
		if stock := c.stockLeader(ctx); stock != nil {
			lease = stock
			where = stockLease
		}
	}
	switch {
	case err != nil:
		scheduler.Unknown = err.Error()
	case lease.leads():
		scheduler.Lease = where.String()
		scheduler.Holder = lease.Holder
		scheduler.Since = lease.Acquired
	default:
		scheduler.Problem = nobodyLeads(where, lease)
	}
	return scheduler
}
