// SPDX-License-Identifier: Apache-2.0

// Package version is the version of corepin that a program was built from, and of Kubernetes that it was built on.
//
// hack/ldflags.sh gives the linker both: corepin's from git, that of Kubernetes from go.mod. A program that was built
// without them says that it does not know.
package version

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/spf13/cobra"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	kubernetes "k8s.io/component-base/version"
)

// The linker sets these. Its option -X takes variables only.
var (
	version = "v0.0.0-unknown"
	commit  = "unknown"
	date    = "unknown"
)

// Info is what a program was built from.
type Info struct {
	// Version is a release such as v0.1.0. Between two releases it also has the commit.
	Version string `json:"version"`
	// Commit is the git commit, and Date is when that was made, in UTC as RFC 3339 has it. The time of the build is not
	// recorded, so that the same commit always gives the same program.
	Commit string `json:"commit"`
	Date   string `json:"date"`
	// Kubernetes is the release of Kubernetes whose code is in the program.
	Kubernetes string `json:"kubernetes"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

// Get returns what this program was built from.
func Get() Info {
	return Info{
		Version: version, Commit: commit, Date: date, Kubernetes: kubernetes.Get().GitVersion,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// String is one line for people.
func (i Info) String() string {
	return fmt.Sprintf("corepin %s (commit %s of %s), Kubernetes %s, %s %s", i.Version, i.Commit, i.Date, i.Kubernetes, i.Go, i.Platform)
}

// ShowFor makes the flag --version of a Kubernetes component's command show corepin's version too. The command's own
// code shows only that of Kubernetes (k8s.io/component-base/version/verflag, PrintAndExitIfRequested).
func ShowFor(command *cobra.Command) {
	run := command.RunE
	command.RunE = func(cmd *cobra.Command, args []string) error {
		flag := cmd.Flags().Lookup("version")
		if flag == nil || flag.Value.String() != "true" && flag.Value.String() != "raw" {
			return run(cmd, args)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), Get())
		return err
	}
}

var buildInfo = metrics.NewGaugeVec(&metrics.GaugeOpts{
	Namespace:      "corepin",
	Name:           "build_info",
	Help:           "Always 1. The labels are the version of corepin, its commit and the commit's date, and the Kubernetes release that it is built on.",
	StabilityLevel: metrics.ALPHA,
}, []string{"version", "commit", "date", "kubernetes"})

// RegisterMetrics makes metric corepin_build_info visible. Only the first call does anything.
var RegisterMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(buildInfo)
	info := Get()
	buildInfo.WithLabelValues(info.Version, info.Commit, info.Date, info.Kubernetes).Set(1)
})
