// Command kubectl-corepin is a kubectl plugin: in the PATH it is `kubectl corepin`. It asks beforehand what
// kubelets and corepin will decide about dedicated CPUs; see package cli for what it answers.
//
// This program is the outside of package cli: the standard streams, the files and the API server.
package main

import (
	"context"
	"io/fs"
	"os"

	"corepin.dev/corepin/pkg/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), cli.Host{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Open:    func(name string) (fs.File, error) { return os.Open(name) },
		Cluster: askCluster, VMI: askVMI,
	}, os.Args[1:]))
}
