// SPDX-License-Identifier: Apache-2.0

// Command corepin-scheduler is kube-scheduler with one plugin more, DedicatedCPU: everything else, flags and
// configuration file included, is as in the kube-scheduler of the same version.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"

	"corepin.dev/corepin/pkg/version"
	"corepin.dev/corepin/scheduler/dedicatedcpu"
)

func main() {
	command := app.NewSchedulerCommand(app.WithPlugin(dedicatedcpu.Name, dedicatedcpu.Factory()))
	version.ShowFor(command)
	os.Exit(cli.Run(command))
}
