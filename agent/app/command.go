// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/version"
)

// options are the flags: what differs from one agent to the next. All else is in the configuration file.
type options struct {
	configFile string
	kubeconfig string
	nodeName   string
	logging    *logsapi.LoggingConfiguration
}

// NewCommand is the agent's command line.
func NewCommand() *cobra.Command {
	o := &options{logging: logsapi.NewLoggingConfiguration()}
	cmd := &cobra.Command{
		Use:   "corepin-agent",
		Short: "Report, label and pin the CPUs of one node",
		Long: `corepin-agent runs on each node. It reports the node's CPUs and who holds them (NodeCPU objects),
labels the node where the kubelet's CPU manager runs, and keeps the threads of dedicated virtual machines
on the CPUs that the kubelet granted.`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cliflag.PrintFlags(cmd.Flags())
			return o.run(cmd.Context())
		},
	}
	var sets cliflag.NamedFlagSets
	agent := sets.FlagSet("agent")
	agent.StringVar(&o.configFile, "config", "", "The agent's configuration file; without one, the defaults hold.")
	agent.StringVar(&o.kubeconfig, "kubeconfig", "", "The kubeconfig of the API server; without one, the pod's service account is used.")
	agent.StringVar(&o.nodeName, "node-name", "", "The name of the Node that this agent runs on. Required.")
	logsapi.AddFlags(o.logging, sets.FlagSet("logs"))
	verflag.AddFlags(sets.FlagSet("global"))
	for _, set := range sets.FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	const columns = 100
	cliflag.SetUsageAndHelpFunc(cmd, sets, columns)
	version.ShowFor(cmd)
	for _, once := range []*cobra.Command{takeBackCommand(), verifyCommand()} {
		var its cliflag.NamedFlagSets
		its.FlagSet(once.Name()).AddFlagSet(once.Flags())
		cliflag.SetUsageAndHelpFunc(once, its, columns)
		cmd.AddCommand(once)
	}
	return cmd
}

// gcPercent makes the garbage collector run more often than by default. The agent is on every node and idle
// most of the time: there, memory costs more than the time it takes to give it back.
const gcPercent = 15

// procs is how many threads run Go code at once. By default it is the number of the machine's CPUs. Each costs memory, and each
// short piece of work wakes another thread that then finds nothing to do. Most of the agent's time it waits for libvirt.
const procs = 1

func (o *options) run(ctx context.Context) error {
	debug.SetGCPercent(gcPercent)
	runtime.GOMAXPROCS(procs)
	if err := logsapi.ValidateAndApply(o.logging, nil); err != nil {
		return fmt.Errorf("setting up logging: %w", err)
	}
	if o.nodeName == "" {
		return errors.New("flag --node-name is required: in a pod, give it spec.nodeName by an environment variable")
	}
	c, err := config.Load(o.configFile)
	if err != nil {
		return err
	}
	client, err := o.clientConfig()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	logger := klog.FromContext(ctx).WithValues("node", o.nodeName)
	logger.Info("starting", "version", version.Get().String(), "config", c.String())
	a, err := newAgent(ctx, c, o.nodeName, client)
	if err != nil {
		return err
	}
	defer logger.Info("stopped")
	return a.run(klog.NewContext(ctx, logger))
}

func (o *options) clientConfig() (*rest.Config, error) {
	var c *rest.Config
	var err error
	if o.kubeconfig == "" {
		if c, err = rest.InClusterConfig(); err != nil {
			return nil, fmt.Errorf("using the pod's service account (outside of a pod, give --kubeconfig): %w", err)
		}
	} else if c, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig); err != nil {
		return nil, fmt.Errorf("reading kubeconfig %s: %w", o.kubeconfig, err)
	}
	return rest.AddUserAgent(c, fieldManager), nil
}
