// SPDX-License-Identifier: Apache-2.0

package app

import (
	"maps"
	"testing"

	"github.com/spf13/pflag"
	upstream "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// The command has kube-scheduler's flags, with their defaults and help.
func TestFlags(t *testing.T) {
	want, got := map[string]string{}, map[string]string{}
	note := func(into map[string]string) func(*pflag.Flag) {
		return func(flag *pflag.Flag) { into[flag.Name] = flag.DefValue + "; " + flag.Usage + "; " + flag.Deprecated }
	}
	upstream.NewSchedulerCommand().Flags().VisitAll(note(want))
	NewCommand().Flags().VisitAll(note(got))
	if len(want) < 50 || !maps.Equal(got, want) {
		t.Errorf("%d flags, want %d:\n%v\n%v", len(got), len(want), got, want)
	}
}
