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
	"runtime"

	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/cli"
)

func main() {
	config := genericclioptions.NewConfigFlags(true)
	config.Namespace = nil // the commands have it themselves: it is of use without a cluster too
	c := connection{config: config, dial: func(to *rest.Config) (dynamic.Interface, error) { return dynamic.NewForConfig(to) }}
	host := c.host()
	host.In = os.Stdin
	host.Out = os.Stdout
	host.Err = os.Stderr
	host.Terminal = terminal
	host.NoColor = os.Getenv("NO_COLOR") != ""
	host.Open = func(name string) (fs.File, error) { return os.Open(name) }
	host.Create = func(name string) (io.WriteCloser, error) {
		return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	}
	os.Exit(cli.Run(context.Background(), host, os.Args[1:]))
}

// host is the outside of the commands, without files and streams.
func (c connection) host() cli.Host {
	flags := pflag.NewFlagSet("connection", pflag.ContinueOnError)
	c.config.AddFlags(flags)
	return cli.Host{
		Now: clock.RealClock{}.Now, Pause: pause, Poll: poll, UntilInterrupted: untilInterrupted,
		Connection: flags, Cluster: c.cluster, VMI: c.vmi, Lease: c.lease, ServerVersion: c.serverVersion, List: c.listAny, Own: c.own, Events: c.events, Log: c.log, Watch: c.watch,
		CreateMigration: c.createMigration, Migration: c.migration, DeleteMigration: c.deleteMigration,
	}
}

// terminal is the terminal that standard output is. The console of Windows shows escape sequences only where a program has asked
// for that, and Windows Terminal always does.
func terminal() cli.Terminal {
	width, height, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return cli.Terminal{}
	}
	escapes := os.Getenv("TERM") != "dumb" && (runtime.GOOS != "windows" || os.Getenv("WT_SESSION") != "")
	return cli.Terminal{Width: width, Height: height, Escapes: escapes}
}
