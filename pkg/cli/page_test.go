// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/page"
)

// pageData is what the script of a page reads.
func pageData(t testing.TB, text string) page.Page {
	t.Helper()
	_, rest, _ := strings.Cut(text, `<script type="application/json" id="data">`)
	data, _, found := strings.Cut(rest, "</script>")
	var p page.Page
	if err := json.Unmarshal([]byte(data), &p); err != nil || !found {
		t.Fatalf("the page has no data: %v\n%.2000s", err, text)
	}
	return p
}

func TestReportShowsTheNodes(t *testing.T) {
	text := ask(t, liveHost(t), nil, "report")
	p := pageData(t, text)
	var names []string
	states := map[string]page.State{}
	for i := range p.Nodes {
		names = append(names, p.Nodes[i].Name)
		states[p.Nodes[i].Name] = p.Nodes[i].State
	}
	if want := []string{"busy", "silent", "cordoned"}; !slices.Equal(names, want) {
		t.Fatalf("nodes %q, want %q", names, want)
	}
	if states["silent"] != page.Silent || states["cordoned"] != page.Unlabelled || states["busy"] != page.Exact {
		t.Errorf("states %v", states)
	}
	busy := &p.Nodes[0]
	want := []page.Holder{{Name: "VM vms/db", CPUs: "1,9", Pins: "vcpu 0 1, vcpu 1 9"}, {Name: "VM vms/flying (in flight)", CPUs: "2-3,10-11", InFlight: true}}
	if !slices.Equal(busy.Holders, want) {
		t.Errorf("holders %+v, want %+v", busy.Holders, want)
	}
	if busy.Taken != 6 || busy.Usable != 14 || busy.Machine != 0 || len(p.Machines) != 1 || p.Machines[0].Reserved != "0,8" {
		t.Errorf("node %+v of machines %+v", busy, p.Machines)
	}
	if !strings.Contains(text, `<time datetime="2026-11-30T12:00:00Z">`) {
		t.Error("the page does not name its moment")
	}
}

// The page has the words of explain and the numbers of capacity.
func TestReportSaysWhatTheOtherCommandsSay(t *testing.T) {
	for name, host := range map[string]Host{"a small cluster": liveHost(t), "a generated cluster": hostOf(generatedCluster(t, 12))} {
		text := html.UnescapeString(ask(t, host, nil, "report"))
		p := pageData(t, ask(t, host, nil, "report"))
		if len(p.Waiting) == 0 {
			t.Fatalf("%s: nothing waits", name)
		}
		for _, w := range p.Waiting {
			namespace, vm, _ := strings.Cut(strings.TrimPrefix(w.Names[0], "VM "), "/")
			for line := range strings.Lines(ask(t, host, nil, "explain", "vmi", vm, "-n", namespace)) {
				line = strings.TrimSuffix(line, "\n")
				if !strings.Contains(text, ">"+line+"</p>") && line != "" && !strings.HasPrefix(line, "exit ") {
					t.Errorf("%s: the page does not say of %s: %q", name, w.Names[0], line)
				}
			}
		}
		for i, line := range strings.Split(ask(t, host, nil, "capacity", "-o", "json"), "\n") {
			var counted capacity
			if json.Unmarshal([]byte(line), &counted) != nil {
				continue
			}
			if p.Sizes[i].Shape != counted.Shape || p.Sizes[i].Fit != counted.Fit {
				t.Errorf("%s: %+v, and capacity counts %d for %s", name, p.Sizes[i], counted.Fit, counted.Shape)
			}
			for k := range counted.Nodes {
				if p.Nodes[k].Name != counted.Nodes[k].Node || p.Nodes[k].Room[i] != counted.Nodes[k].Fit {
					t.Errorf("%s: %s has room for %v, and capacity counts %+v", name, p.Nodes[k].Name, p.Nodes[k].Room, counted.Nodes[k])
				}
			}
		}
		if len(p.Sizes) != len(usualShapes) {
			t.Errorf("%s: sizes %+v", name, p.Sizes)
		}
	}
}

// A size of huge pages that a NUMA node has none of is not among its memory.
func TestMemoryOfANUMANode(t *testing.T) {
	const gib = 1 << 30
	state := &memorymanager.State{Types: []string{"hugepages-2Mi", "memory"},
		NUMANodes: []memorymanager.NUMANode{{Group: 1, Memory: []memorymanager.Amount{{}, {Total: 3 * gib, Allocatable: 2 * gib, Free: gib}}}}}
	m := &machine{report: &nodereport.Report{Node: &admission.Node{MemoryManager: memorymanager.PolicyStatic, Memory: state}}}
	if got := m.memoryOf(0, 0); len(got) != 1 || got[0] != "1 GiB of 2 GiB memory free" {
		t.Errorf("got %q", got)
	}
}

// hostOf is a host with a cluster and nothing else.
func hostOf(cluster Cluster) Host {
	return Host{Now: func() time.Time { return noon }, Cluster: func(context.Context) (Cluster, error) {
		each := cluster
		each.Pods = slices.Clone(cluster.Pods)
		return each, nil
	}}
}

// Pods that wait for the same reasons are one entry, and no page explains more than maxWaiting.
func TestReportGroupsWhatWaits(t *testing.T) {
	host := hostOf(generatedCluster(t, 30))
	p := pageData(t, ask(t, host, nil, "report"))
	var counts []int
	for _, w := range p.Waiting {
		counts = append(counts, len(w.Names))
		for _, g := range w.Groups {
			for _, i := range g.Nodes {
				if i < 0 || i >= len(p.Nodes) {
					t.Errorf("%s: node %d of %d", w.Names[0], i, len(p.Nodes))
				}
			}
		}
	}
	if !slices.Equal(counts, []int{3, 2, 1}) {
		t.Errorf("entries of %v pods, want 3, 2 and 1", counts)
	}
	cluster := generatedCluster(t, 2)
	for i := range maxWaiting + 3 {
		pod := launcherOf(fmt.Sprintf("other-%d", i), fmt.Sprint(2*i+2))
		pod.Spec.NodeName = ""
		cluster.Pods = append(cluster.Pods, pod)
	}
	text := ask(t, hostOf(cluster), nil, "report")
	if n := strings.Count(text, "Not explained here: 20 other kinds of pods come first."); n != len(pageData(t, text).Waiting)-maxWaiting || n < 3 {
		t.Errorf("%d entries are not explained, of %d", n, len(pageData(t, text).Waiting))
	}
}

func TestReportWritesAFile(t *testing.T) {
	var written bytes.Buffer
	created := ""
	host := liveHost(t)
	want := strings.TrimSuffix(ask(t, host, nil, "report"), "exit 0\n")
	host.Create = func(name string) (io.WriteCloser, error) {
		if created != "" {
			return nil, fmt.Errorf("open %s: %w", name, os.ErrExist)
		}
		created = name
		return closer{&written}, nil
	}
	out := ask(t, host, nil, "report", "--file", "cluster.html")
	says := fmt.Sprintf("cluster.html: 3 nodes, %d KiB\nexit 0\n", (len(want)+1023)/1024)
	if out != says || created != "cluster.html" || written.String() != want {
		t.Errorf("file %q of %d bytes, want %d; it says %q", created, written.Len(), len(want), out)
	}
	for args, want := range map[string]string{
		"--file cluster.html": "error: creating the page: open cluster.html: file already exists\nexit 2\n",
		"-o json":             "error: --output is \"json\"; want html\nexit 2\n",
		"--shape cpus=x":      "error: --shape is \"cpus=x\"",
		"--strictness no":     "error: --strictness is \"no\"",
		"--scheduler x":       "error: --scheduler is \"x\"",
	} {
		if got := ask(t, host, nil, append([]string{"report"}, strings.Fields(args)...)...); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
	host.Create = func(string) (io.WriteCloser, error) { return fullDisk{}, nil }
	if got, want := ask(t, host, nil, "report", "--file", "x"), "error: writing x: no space left\nexit 2\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }
func (fullDisk) Close() error              { return nil }

// The nodes of files that are no dump are shown as of the latest time in them.
func TestReportOfFiles(t *testing.T) {
	cluster := generatedCluster(t, 3)
	var objects []any
	for i := range cluster.Reports {
		objects = append(objects, cluster.Reports[i])
	}
	for i := range cluster.Pods {
		objects = append(objects, cluster.Pods[i])
	}
	files := fstest.MapFS{"nodes.json": &fstest.MapFile{Data: []byte(stream(t, objects...))}}
	text := ask(t, Host{}, files, "report", "-f", "nodes.json")
	if p := pageData(t, text); len(p.Nodes) != 3 || len(p.Waiting) != 3 || !strings.Contains(text, "2026-11-30T11:00:00Z") {
		t.Errorf("%d nodes, %d entries that wait: %.1500s", len(p.Nodes), len(p.Waiting), text[strings.Index(text, "<body>"):])
	}
}

// A page of 5,000 nodes can be mailed and opened, and is written in seconds.
func TestReportOfManyNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("5,000 nodes take seconds")
	}
	const most = 10 << 20
	cluster := generatedCluster(t, 5000)
	text := ask(t, hostOf(cluster), nil, "report")
	p := pageData(t, text)
	holders := 0
	for i := range p.Nodes {
		holders += len(p.Nodes[i].Holders)
	}
	if len(p.Nodes) != 5000 || holders < 25000 || len(p.Machines) > 20 || len(text) > most {
		t.Errorf("%d nodes of %d machines with %d pods take %d bytes, at most %d", len(p.Nodes), len(p.Machines), holders, len(text), most)
	}
}

// BenchmarkReport is a page of 5,000 nodes, its cluster in memory.
func BenchmarkReport(b *testing.B) {
	host := hostOf(generatedCluster(b, 5000))
	host.Out = io.Discard
	host.Err = io.Discard
	host.Connection = connection()
	for b.Loop() {
		if code := Run(b.Context(), host, []string{"report"}); code != exitOK {
			b.Fatalf("exit code %d", code)
		}
	}
}
