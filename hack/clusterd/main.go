// SPDX-License-Identifier: Apache-2.0

// Command clusterd is every server of the test cluster in one binary: its first argument picks the
// component, the rest are that component's own flags.
//
//	clusterd etcd --data-dir DIR --listen-client-url https://127.0.0.1:PORT ...
//	clusterd kube-apiserver ...
//	clusterd kube-controller-manager ...
//	clusterd kubectl ...
//
// It promises the real components, built from the same module versions as corepin itself, with
// nothing to download. One binary, because the components share most of their packages: compiling
// and linking them once takes a fraction of the time and of the disk of four.
//
// Only the chosen component's command is constructed. The components register flags and feature
// gates in process-wide registries, and two of them in one process would meet there.
//
// Build it with hack/build.sh clusterd: the Kubernetes version is stamped at link time, and an
// API server that reports an empty version misleads every client that asks for it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	_ "time/tzdata"

	"k8s.io/component-base/version"
)

// components maps the first argument to what runs it and returns the exit code. os.Args is the
// component's own when it is called.
var components = map[string]func() int{
	"etcd":                    runEtcd,
	"kube-apiserver":          runAPIServer,
	"kube-controller-manager": runControllerManager,
	"kubectl":                 runKubectl,
}

func main() {
	os.Exit(run(os.Args))
}

func run(args []string) int {
	if len(args) < 2 || components[args[1]] == nil {
		fmt.Fprintf(os.Stderr, "usage: %s %s [flags]\n", filepath.Base(args[0]), strings.Join(names(), "|"))
		return 2
	}
	if err := checkVersion(version.Get().GitVersion, version.Get().Minor); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	os.Args = args[1:]
	return components[args[1]]()
}

func names() []string {
	all := make([]string, 0, len(components))
	for name := range components {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

// checkVersion refuses a binary that was linked without its version.
func checkVersion(gitVersion, minor string) error {
	if minor == "" || strings.HasPrefix(gitVersion, "v0.0.0") {
		return fmt.Errorf("clusterd was linked without a Kubernetes version (it says %q): build it with hack/build.sh clusterd", gitVersion)
	}
	return nil
}
