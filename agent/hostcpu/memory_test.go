// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func TestReadMemory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	node := nodeDir + "/node"
	fsys := fstest.MapFS{
		node + "0/meminfo": file("Node 0 MemTotal:       199229440 kB\nNode 0 MemFree:        1 kB\n"),
		node + "0/hugepages/hugepages-1048576kB/nr_hugepages":   file("16\n"),
		node + "0/hugepages/hugepages-1048576kB/free_hugepages": file("9\n"),
		node + "0/hugepages/hugepages-2048kB/nr_hugepages":      file("0\n"),
		node + "0/hugepages/hugepages-2048kB/free_hugepages":    file("0\n"),
		node + "1/meminfo":  file("Node 1 MemTotal: 4 kB\n"),
		node + "2/cpulist":  file("\n"),
		nodeDir + "/online": file("0-2\n"),
	}
	got, err := ReadMemory(fsys)
	if want := "map[0:{204010946560 map[hugepages-1Gi:{1073741824 16 9} hugepages-2Mi:{2097152 0 0}]} 1:{4096 map[]}]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got  %v, %v\nwant %s", got, err, want)
	}
	for text, want := range map[string]string{"": "no MemTotal", "Node 1 MemTotal: much kB\n": "invalid syntax"} {
		fsys[node+"1/meminfo"] = file(text)
		if _, err := ReadMemory(fsys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("meminfo %q: %v, want %q", text, err, want)
		}
	}
	if got, err := ReadMemory(fstest.MapFS{}); err != nil || len(got) != 0 {
		t.Errorf("without NUMA: %v, %v", got, err)
	}
}

// A count of free pages that jumps about reads the same, and pages are free only once they have stayed so.
func TestWatcherReadsTheFewestFreePages(t *testing.T) {
	dir := t.TempDir()
	pages := filepath.Join(dir, nodeDir, "node0", "hugepages", "hugepages-2048kB")
	if err := os.MkdirAll(pages, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, nodeDir, "node0", "meminfo"), "Node 0 MemTotal: 4 kB\n")
	write(filepath.Join(pages, "nr_hugepages"), "100\n")
	w := NewWatcher(Options{SysfsDir: dir, Clock: testingclock.NewFakeClock(time.Unix(1000, 0))})
	changed := w.Subscribe()
	var got []string
	for _, free := range []int{100, 60, 100, 70, 60, 100, 100, 100, 100} {
		write(filepath.Join(pages, "free_hugepages"), fmt.Sprintln(free))
		w.refreshMemory(t.Context())
		step := fmt.Sprint(w.Memory().Value[0].HugePages["hugepages-2Mi"].Free)
		if len(changed) > 0 {
			<-changed
			step += "!"
		}
		got = append(got, step)
	}
	if want := "100! 60! 60 60 60 60 60 100! 100"; strings.Join(got, " ") != want {
		t.Errorf("free pages read %s, want %s", strings.Join(got, " "), want)
	}
}
