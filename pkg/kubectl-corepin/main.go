// SPDX-License-Identifier: Apache-2.0

// Command kubectl-corepin is a kubectl plugin: in the PATH it is `kubectl corepin`. It answers what kubelets and
// corepin will decide about dedicated CPUs; see package cli for the commands.
//
// This program is the outside of package cli: the standard streams, the files and the API server.
package main

import (
	"context"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/cli"
)

func main() {
	config := genericclioptions.NewConfigFlags(true)
	config.Namespace = nil // the commands have it themselves: it is of use without a cluster too
	c := connection{config}
	flags := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	config.AddFlags(flags)
	os.Exit(cli.Run(context.Background(), cli.Host{
		Now: clock.RealClock{}.Now, In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Open:       func(name string) (fs.File, error) { return os.Open(name) },
		Connection: flags, Cluster: c.cluster, VMI: c.vmi, Lease: c.lease, List: c.listAny, Pause: pause,
		Own: c.own, Events: c.events, Log: c.log, Create: func(name string) (io.WriteCloser, error) {
			return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		},
	}, os.Args[1:]))
}
