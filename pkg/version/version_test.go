// SPDX-License-Identifier: Apache-2.0

package version

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestShowFor(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		runs bool
	}{
		"no flag":   {nil, true},
		"asked":     {[]string{"--version"}, false},
		"asked raw": {[]string{"--version=raw"}, false},
		"another":   {[]string{"--version=v1.2.3"}, true},
	} {
		ran := false
		var out bytes.Buffer
		command := &cobra.Command{Use: "corepin-agent", RunE: func(*cobra.Command, []string) error { ran = true; return nil }}
		command.Flags().String("version", "false", "")
		command.Flags().Lookup("version").NoOptDefVal = "true"
		command.SetArgs(tc.args)
		command.SetOut(&out)
		ShowFor(command)
		if err := command.Execute(); err != nil {
			t.Fatal(err)
		}
		if ran != tc.runs {
			t.Errorf("%s: the command ran: %t, want %t", name, ran, tc.runs)
		}
		for _, want := range []string{"corepin " + version, "commit " + commit, "Kubernetes v"} {
			if strings.Contains(out.String(), want) == tc.runs {
				t.Errorf("%s: it prints %q; %q in it: want %t", name, out.String(), want, !tc.runs)
			}
		}
	}
}
