// SPDX-License-Identifier: Apache-2.0

// Command corepin-agent runs on each node: it reports the node's CPUs and who holds them, labels the node
// where the kubelet's CPU manager runs, and keeps the threads of dedicated virtual machines on their CPUs.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/restclient"
	_ "k8s.io/component-base/metrics/prometheus/version"

	"corepin.dev/corepin/agent/app"
)

func main() {
	os.Exit(cli.Run(app.NewCommand()))
}
