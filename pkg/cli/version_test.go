// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"testing"

	"corepin.dev/corepin/pkg/version"
)

func TestVersion(t *testing.T) {
	want := version.Get()
	code, out, errs := run(t, "", "version")
	if code != exitOK || out != want.String()+"\n" || errs != "" {
		t.Errorf("exit code %d, %q, errors %q; want %s", code, out, errs, want)
	}
	code, out, errs = run(t, "", "version", "-o", "json")
	var got version.Info
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK || got != want || errs != "" {
		t.Errorf("exit code %d, %q, errors %q, %v; want %+v", code, out, errs, err, want)
	}
	if code, _, _ := run(t, "", "version", "-o", "xml"); code != exitError {
		t.Errorf("with -o xml the exit code is %d, want %d", code, exitError)
	}
}
