// SPDX-License-Identifier: Apache-2.0

package cpumanager

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		policy, options, want string
	}{
		{"", "", "none"},
		{"none", "", "none"},
		{"static", "", "static"},
		{"static", "full-pcpus-only=true strict-cpu-reservation=1", "static full-pcpus-only strict-cpu-reservation"},
		{"static", "full-pcpus-only=false distribute-cpus-across-cores=true", "static distribute-cpus-across-cores"},
		{"static", "some-new-option=7 align-by-socket=true", "static align-by-socket some-new-option"},
		{"none", "full-pcpus-only=true", "error: takes no options"},
		{"Static", "", "error: neither static nor none"},
		{"static", "full-pcpus-only=yes", "error: neither true nor false"},
		{"static", "full-pcpus-only=true distribute-cpus-across-cores=true", "error: exclude each other"},
		{"static", "distribute-cpus-across-numa=true distribute-cpus-across-cores=true", "error: exclude each other"},
		{"static", "prefer-align-cpus-by-uncorecache=true distribute-cpus-across-cores=true", "error: exclude each other"},
		{"static", "prefer-align-cpus-by-uncorecache=true distribute-cpus-across-numa=true", "error: exclude each other"},
	} {
		got, err := Parse(tc.policy, optionsOf(tc.options))
		compare(t, tc.policy+" "+tc.options, got.String(), err, tc.want)
	}
}

func optionsOf(text string) map[string]string {
	options := map[string]string{}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		options[name] = value
	}
	return options
}

// compare checks a text, or with "error: " a part of an error.
func compare(t *testing.T, what, got string, err error, want string) {
	t.Helper()
	if text, isError := strings.CutPrefix(want, "error: "); isError {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want an error with %q", what, err, text)
		}
		return
	}
	if err != nil || got != want {
		t.Errorf("%s: %q, %v, want %q", what, got, err, want)
	}
}
