// SPDX-License-Identifier: Apache-2.0

// Command corepin-scheduler is kube-scheduler with one plugin more, DedicatedCPU: everything else, flags and
// configuration file included, is as in the kube-scheduler of the same version.
package main

import (
	"os"

	"k8s.io/component-base/cli"

	"corepin.dev/corepin/pkg/version"
	"corepin.dev/corepin/scheduler/app"
)

func main() {
	command := app.NewCommand()
	version.ShowFor(command)
	os.Exit(cli.Run(command))
}
