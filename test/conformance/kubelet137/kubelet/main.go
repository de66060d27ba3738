// SPDX-License-Identifier: Apache-2.0

// Command kubelet is the kubelet 1.37, as upstream's own command has it.
//
// The system suite runs it inside its machines. It is built here, and not downloaded, so that nothing but
// the Go module proxy is wanted, and so that its version is the one that pkg/kubelet/admission claims to predict.
// Build it with hack/machine.sh, which stamps that version: the agent reports what the kubelet says
// of itself.
package main

import (
	"context"
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	os.Exit(cli.Run(app.NewKubeletCommand(context.Background())))
}
