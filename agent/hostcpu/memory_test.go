package hostcpu

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

func TestReadMemory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	node := nodeDir + "/node"
	fsys := fstest.MapFS{
		node + "0/meminfo": file("Node 0 MemTotal:       199229440 kB\nNode 0 MemFree:        1 kB\n"),
		node + "0/hugepages/hugepages-1048576kB/nr_hugepages": file("16\n"),
		node + "0/hugepages/hugepages-2048kB/nr_hugepages":    file("0\n"),
		node + "1/meminfo":  file("Node 1 MemTotal: 4 kB\n"),
		node + "2/cpulist":  file("\n"),
		nodeDir + "/online": file("0-2\n"),
	}
	got, err := ReadMemory(fsys)
	if want := "map[0:{204010946560 map[hugepages-1Gi:17179869184 hugepages-2Mi:0]} 1:{4096 map[]}]"; err != nil || fmt.Sprint(got) != want {
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
