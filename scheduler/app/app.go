// SPDX-License-Identifier: Apache-2.0

// Package app is the command corepin-scheduler: kube-scheduler's, with plugin DedicatedCPU, and with bindings held back when
// another replica may lead (package term).
//
// The command of kube-scheduler (cmd/kube-scheduler/app/server.go, v1.36.3) lets nobody see its leader election between
// Setup and Run. So this one calls the two itself. Flags, help and checks are kube-scheduler's.
package app

import (
	"github.com/spf13/cobra"
	"k8s.io/apiserver/pkg/server"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/component-base/version/verflag"
	upstream "k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/version"
	"corepin.dev/corepin/scheduler/dedicatedcpu"
	"corepin.dev/corepin/scheduler/skew"
	"corepin.dev/corepin/scheduler/term"
)

// NewCommand returns the command corepin-scheduler.
func NewCommand() *cobra.Command {
	opts := options.NewOptions()
	command := upstream.NewSchedulerCommand()
	command.ResetFlags()
	verflag.AddFlags(opts.Flags.FlagSet("global"))
	globalflag.AddGlobalFlags(opts.Flags.FlagSet("global"), command.Name(), logs.SkipLoggingConfigurationFlags())
	for _, flags := range opts.Flags.FlagSets {
		command.Flags().AddFlagSet(flags)
	}
	command.RunE = func(command *cobra.Command, _ []string) error {
		return run(command, opts)
	}
	return command
}

// run runs the scheduler until it gets a signal or its Lease is lost.
func run(command *cobra.Command, opts *options.Options) error {
	gates := opts.ComponentGlobalsRegistry.FeatureGateFor(compatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(opts.Logs, gates); err != nil {
		return err
	}
	cliflag.PrintFlags(command.Flags())
	ctx := server.SetupSignalContext()
	leads := term.New(clock.RealClock{})
	completed, sched, err := upstream.Setup(ctx, opts, upstream.WithPlugin(dedicatedcpu.Name, dedicatedcpu.Factory(leads)))
	if err != nil {
		return err
	}
	go skew.Watch(ctx, version.Get().Kubernetes, completed.Client.Discovery(), clock.RealClock{})
	if completed.LeaderElection == nil {
		leads.Alone()
	} else {
		leads.Watch(completed.LeaderElection)
	}
	if mutable, ok := gates.(featuregate.MutableFeatureGate); ok {
		mutable.AddMetrics()
	}
	opts.ComponentGlobalsRegistry.AddMetrics()
	return upstream.Run(ctx, completed, sched)
}
