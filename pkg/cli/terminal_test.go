// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
)

// runOn runs a command whose answer goes to a terminal.
func runOn(t *testing.T, terminal *Terminal, noColor bool, cluster Cluster, args ...string) (code int, out string) {
	t.Helper()
	var o, e bytes.Buffer
	host := Host{Now: func() time.Time { return noon }, In: strings.NewReader(""), Out: &o, Err: &e, Connection: connection(), NoColor: noColor,
		Cluster: func(context.Context) (Cluster, error) { return cluster, nil }}
	if terminal != nil {
		host.Terminal = func() Terminal { return *terminal }
	}
	code = Run(t.Context(), host, args)
	return code, o.String() + e.String()
}

func TestColors(t *testing.T) {
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "none", nil)}}
	_, plain := runOn(t, nil, false, cluster, "nodes")
	xterm := &Terminal{Width: 80, Height: 24, Escapes: true}
	for name, test := range map[string]struct {
		terminal *Terminal
		noColor  bool
		args     string
		want     bool
	}{
		"a terminal":              {xterm, false, "", true},
		"a file":                  {nil, false, "", false},
		"a terminal, NO_COLOR":    {xterm, true, "", false},
		"a dumb terminal":         {&Terminal{Width: 80}, false, "", false},
		"a file, always":          {nil, false, "--color=always", true},
		"NO_COLOR, always":        {xterm, true, "--color=always", true},
		"a terminal, never":       {xterm, false, "--color=never", false},
		"a terminal, auto":        {xterm, false, "--color=auto", true},
		"a terminal without size": {&Terminal{Escapes: true}, false, "", true},
	} {
		_, out := runOn(t, test.terminal, test.noColor, cluster, append([]string{"nodes"}, strings.Fields(test.args)...)...)
		if got := strings.Contains(out, "\x1b["); got != test.want {
			t.Errorf("%s: colours %t, want %t", name, got, test.want)
		}
		if got := escapes.ReplaceAllString(out, ""); got != plain {
			t.Errorf("%s: without colours it is\n%swant\n%s", name, got, plain)
		}
	}
	code, out := runOn(t, nil, false, cluster, "nodes", "--color=red")
	if code != exitError || !strings.Contains(out, `--color is "red"; want auto, always or never`) {
		t.Errorf("exit code %d, %s", code, out)
	}
	_, out = runOn(t, &Terminal{Width: 20}, false, cluster, "nodes")
	if !strings.HasSuffix(out, "\n\ns0 n0  RR .. .. ..\ns0 n0  .. .. .. ..\nR reserved\n. shared pool\n") {
		t.Errorf("in 20 columns:\n%s", out)
	}
}

// A text that does not fit is cut, and the cursor stays on the last row.
func TestRedraw(t *testing.T) {
	for name, test := range map[string]struct {
		terminal Terminal
		text     string
		want     string // without the sequences that clear
	}{
		"it fits":           {Terminal{Width: 10, Height: 4}, "a\nb\nc\n", "a\nb\nc\n"},
		"it does not":       {Terminal{Width: 40, Height: 4}, "a\nb\nc\nd\n", "a\nb\n... 2 more lines: narrow with -l\n"},
		"long lines":        {Terminal{Width: 4, Height: 4}, "abcdefgh\nb\nc\n", "abcdefgh\n... 2 more lines: narrow with -l\n"},
		"colours take none": {Terminal{Width: 4, Height: 4}, "\x1b[38;5;31mA\x1b[0mbcd\nb\n", "\x1b[38;5;31mA\x1b[0mbcd\nb\n"},
		"an unknown size":   {Terminal{}, "a\nb\nc\nd\n", "a\nb\nc\nd\n"},
		"hardly any height": {Terminal{Width: 40, Height: 1}, "a\nb\n", "... 2 more lines: narrow with -l\n"},
	} {
		got := test.terminal.redraw(test.text)
		if !strings.HasPrefix(got, toTop) || !strings.HasSuffix(got, clearScreen) || strings.Count(got, clearLine+"\n") != strings.Count(got, "\n") {
			t.Errorf("%s: something of before may stay: %q", name, got)
		}
		text := strings.NewReplacer(toTop, "", clearLine, "", clearScreen, "").Replace(got)
		if text != test.want {
			t.Errorf("%s: %q, want %q", name, text, test.want)
		}
	}
}

// A watched cluster is drawn when it looks otherwise, and stays when it cannot be read.
func TestWatch(t *testing.T) {
	one := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "none", nil)}}
	two := Cluster{Reports: append(slices.Clone(one.Reports), reportOf(t, "n2", eightCores, "none", nil))}
	const header = "2026-11-30T12:00:00Z\n"
	_, drawnOne := runOn(t, nil, false, one, "nodes")
	_, drawnTwo := runOn(t, nil, false, two, "nodes")
	const problem = "2026-11-30T12:00:00Z the cluster cannot be read, trying again: connection refused\n"
	for name, test := range map[string]struct {
		terminal *Terminal
		reads    []*Cluster // nil for one that fails
		want     string     // without the sequences of a terminal
		code     int
	}{
		"a file":                         {nil, []*Cluster{&one, &one, &two}, header + "\n" + drawnOne + "\n" + header + "\n" + drawnTwo, exitOK},
		"a terminal":                     {&Terminal{Escapes: true}, []*Cluster{&one, &one, &two}, header + "\n" + drawnOne + header + "\n" + drawnTwo, exitOK},
		"a cluster that goes":            {nil, []*Cluster{&one, nil, &two}, header + "\n" + drawnOne + problem + "\n" + header + "\n" + drawnTwo, exitOK},
		"a cluster that goes, in place":  {&Terminal{Escapes: true}, []*Cluster{&one, nil, &two}, header + "\n" + drawnOne + problem + "as it was before:\n" + drawnOne + header + "\n" + drawnTwo, exitOK},
		"a cluster that is never there":  {nil, []*Cluster{nil}, "error: connection refused\n", exitError},
		"a cluster that has no NodeCPUs": {nil, []*Cluster{{}}, "error: the cluster has no NodeCPU objects; is corepin-agent running on its nodes?\n", exitError},
	} {
		var o, e bytes.Buffer
		read := 0
		host := Host{Now: func() time.Time { return noon }, In: strings.NewReader(""), Out: &o, Err: &e, Connection: connection(), NoColor: true}
		host.Cluster = func(context.Context) (Cluster, error) {
			cluster := test.reads[read]
			read++
			if cluster == nil {
				return Cluster{}, errors.New("connection refused")
			}
			return *cluster, nil
		}
		host.Pause = func(_ context.Context, length time.Duration) error {
			if length != livePause {
				t.Errorf("%s: a pause of %s", name, length)
			}
			return nil
		}
		host.Watch = func(ctx context.Context, changed func(context.Context) error) error {
			for read < len(test.reads) {
				if err := changed(ctx); err != nil {
					return err
				}
			}
			return nil
		}
		if test.terminal != nil {
			host.Terminal = func() Terminal { return *test.terminal }
		}
		code := Run(t.Context(), host, []string{"nodes", "--watch"})
		got := strings.NewReplacer(toTop, "", clearLine, "", clearScreen, "").Replace(o.String() + e.String())
		if code != test.code || got != test.want {
			t.Errorf("%s: exit code %d, got\n%s\nwant\n%s", name, code, got, test.want)
		}
	}
}

// A cluster that takes long to read is read seldom, and an interrupt ends the watch at once.
func TestWatchSparesALargeCluster(t *testing.T) {
	cluster := Cluster{Reports: []v1alpha1.NodeCPU{reportOf(t, "n1", eightCores, "none", nil)}}
	now := noon
	var paused time.Duration
	interrupted := errors.New("interrupted")
	var o, e bytes.Buffer
	host := Host{Now: func() time.Time { return now }, In: strings.NewReader(""), Out: &o, Err: &e, Connection: connection(),
		Cluster: func(context.Context) (Cluster, error) {
			now = now.Add(3 * time.Second)
			return cluster, nil
		},
		Pause: func(_ context.Context, length time.Duration) error {
			paused = length
			return interrupted
		},
		Watch: func(ctx context.Context, changed func(context.Context) error) error {
			if err := changed(ctx); !errors.Is(err, interrupted) {
				t.Errorf("error %v", err)
			}
			return nil
		}}
	if code := Run(t.Context(), host, []string{"nodes", "-w"}); code != exitOK || paused != 30*time.Second {
		t.Errorf("exit code %d, a pause of %s, want 30 s: %s", code, paused, e.String())
	}
	for args, want := range map[string]string{
		"nodes -w -f x":     "--watch is of the cluster, and files do not change; leave -f or --watch out",
		"nodes -w -o name":  "--watch draws maps; leave -o name out",
		"nodes -w -o json":  `--output is "json"; want text, wide or name`,
		"nodes -w --color=": `--color is ""; want auto, always or never`,
	} {
		e.Reset()
		if code := Run(t.Context(), host, strings.Fields(args)); code != exitError || !strings.Contains(e.String(), want) {
			t.Errorf("%s: exit code %d, %s, want %q", args, code, e.String(), want)
		}
	}
	if code, out := runOn(t, nil, false, cluster, "nodes", "-w"); code != exitError || !strings.Contains(out, "--watch needs a cluster") {
		t.Errorf("without a cluster: exit code %d, %s", code, out)
	}
}
