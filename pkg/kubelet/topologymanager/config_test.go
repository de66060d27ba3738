// SPDX-License-Identifier: Apache-2.0

package topologymanager

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		policy, scope, options, want string
	}{
		{"", "", "", "none"},
		{"none", "pod", "prefer-closest-numa-nodes=nonsense", "none"},
		{"restricted", "", "", "restricted/container"},
		{"best-effort", "pod", "prefer-closest-numa-nodes=true max-allowable-numa-nodes=12",
			"best-effort/pod prefer-closest-numa-nodes max-allowable-numa-nodes=12"},
		{"single-numa-node", "pod", "some-new-option=7", "single-numa-node/pod some-new-option"},
		{"strict", "", "", "error: is not one of none"},
		{"restricted", "node", "", "error: neither container nor pod"},
		{"restricted", "", "prefer-closest-numa-nodes=nonsense", "error: neither true nor false"},
		{"restricted", "", "max-allowable-numa-nodes=7", "error: not a number from 8 up"},
		{"restricted", "", "max-allowable-numa-nodes=x", "error: not a number from 8 up"},
	} {
		got, err := Parse(tc.policy, tc.scope, optionsOf(tc.options))
		compare(t, strings.Join([]string{tc.policy, tc.scope, tc.options}, " "), got.String(), err, tc.want)
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
