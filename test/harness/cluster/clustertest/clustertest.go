// SPDX-License-Identifier: Apache-2.0

// Package clustertest connects test/harness/cluster with Go tests.
//
// Its promise is about what is missing: binaries are built by make, never by a test, and where they
// are not there the test is skipped with the reason, or fails when COREPIN_REQUIRE_ALL=1. A skip is
// never taken for a pass.
package clustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"corepin.dev/corepin/test/harness/cluster"
)

// Binary is the path of a binary in the folder that COREPIN_BIN names. Without COREPIN_BIN the test
// ends: skipped, or failed when COREPIN_REQUIRE_ALL=1.
func Binary(t testing.TB, name string) string {
	t.Helper()
	const hint = "COREPIN_BIN must name the folder of the binaries that make build makes"
	dir := os.Getenv("COREPIN_BIN")
	switch {
	case dir != "":
	case os.Getenv("COREPIN_REQUIRE_ALL") == "1":
		t.Fatal(hint)
	default:
		t.Skip(hint)
	}
	path := filepath.Join(dir, name)
	if !filepath.IsAbs(path) {
		t.Fatalf("COREPIN_BIN is %s: it must be an absolute path, tests run in folders of their own", dir)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("finding a binary, %s: %v", hint, err)
	}
	return path
}

// Start runs a control plane in dir ("" = a folder of the test) until the test ends. When the test
// failed, it shows the end of every process's log.
func Start(t testing.TB, dir string) *cluster.Cluster {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	c, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Binary: Binary(t, "clusterd"), Log: lines{t}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range c.Processes() {
				t.Logf("the log of %s ends:\n%s", p.Name(), p.LogTail())
			}
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// lines writes the cluster's progress to the test's log.
type lines struct{ t testing.TB }

func (l lines) Write(line []byte) (int, error) {
	l.t.Helper()
	l.t.Log(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}
