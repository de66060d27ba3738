// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCountsWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		script, needs string
		left          bool
		patience      time.Duration
		says          string // part of what is printed or of the error
	}{
		"nothing":            {"exec sleep 1000", "sleep", false, time.Minute, "left: 0"},
		"a child":            {"sleep 1000 & wait", "sleep", true, time.Second, "1 processes"},
		"in its own session": {"setsid sh -c 'sleep 1000 & sleep 1000' & wait", "sleep", true, time.Second, "3 processes"},
		"ends by itself":     {"(while kill -0 $$; do sleep 0.1; done) 2>/dev/null & wait", "sleep", false, time.Minute, "left: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			err = run(out, 0, c.patience, []string{c.needs}, []string{"/bin/sh", "-c", c.script})
			left, belowErr := below(os.Getpid())
			for pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			said, readErr := os.ReadFile(out.Name())
			if err != nil {
				said = append(said, err.Error()...)
			}
			if (err != nil) != c.left || !strings.Contains(string(said), c.says) || belowErr != nil || readErr != nil {
				t.Errorf("%s (%v, %v)", said, belowErr, readErr)
			}
		})
	}
}
