// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files; look at what changed")

const prompt = "$ kubectl corepin "

// A golden file is a session in a terminal: the command, what it writes, and its exit code. Files are those
// of testdata/input.
func TestSessions(t *testing.T) {
	sessions, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(sessions) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, file := range sessions {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			command, _, _ := strings.Cut(string(golden), "\n")
			args, ok := strings.CutPrefix(command, prompt)
			if !ok {
				t.Fatalf("%s does not begin with %q", file, prompt)
			}
			got := command + "\n" + session(t, strings.Fields(args)...)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(golden) {
				t.Errorf("got\n%s\nwant\n%s", got, golden)
			}
		})
	}
}

// session runs a command in testdata/input and gives what a terminal would show.
func session(t *testing.T, args ...string) string {
	t.Helper()
	var terminal bytes.Buffer
	host := Host{Now: func() time.Time { return noon }, In: strings.NewReader(""), Out: &terminal, Err: &terminal,
		Open:       func(name string) (fs.File, error) { return os.DirFS("testdata/input").Open(name) },
		Connection: connection(),
		Cluster: func(context.Context) (Cluster, error) {
			return Cluster{}, fmt.Errorf("finding the cluster: there is none in this test")
		}}
	code := Run(t.Context(), host, args)
	fmt.Fprintf(&terminal, "exit %d\n", code)
	return terminal.String()
}
