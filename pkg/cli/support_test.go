// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

// written is a file that Host.Create makes.
type written struct{ bytes.Buffer }

func (*written) Close() error { return nil }

// supported is liveHost with what support reads: a pod that was restarted, another whose log cannot be read, and events of the
// agents only.
func supported(t *testing.T, file *written) Host {
	host := liveHost(t)
	pod := func(name string, restarts int64) map[string]any {
		return map[string]any{
			"kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "corepin-system", "managedFields": []any{"managed"}},
			"spec":   map[string]any{"containers": []any{map[string]any{"name": "agent", "env": []any{map[string]any{"name": "TOKEN", "value": "secret"}}}}},
			"status": map[string]any{"containerStatuses": []any{map[string]any{"restartCount": restarts}}},
		}
	}
	host.Own = func(_ context.Context, namespace string) ([]map[string]any, error) {
		if namespace != "corepin-system" {
			return nil, nil
		}
		return []map[string]any{pod("quiet", 0), pod("restarted", 2)}, errors.New("listing configmaps: forbidden")
	}
	host.Events = func(_ context.Context, source string) ([]map[string]any, error) {
		if source != "corepin-agent" {
			return nil, errors.New("forbidden")
		}
		return []map[string]any{{"kind": "Event", "reason": "Pinned"}}, nil
	}
	host.Log = func(_ context.Context, of *LogOf) (io.ReadCloser, error) {
		if of.Pod == "quiet" {
			return nil, errors.New("the kubelet does not answer")
		}
		return io.NopCloser(strings.NewReader(fmt.Sprintf("%s of %s, %t\n", of.Container, of.Pod, of.Previous))), nil
	}
	host.Create = func(string) (io.WriteCloser, error) { return file, nil }
	return host
}

// unpack gives the files of an archive by name.
func unpack(t *testing.T, file io.Reader) map[string]string {
	t.Helper()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	packed := tar.NewReader(plain)
	for {
		header, err := packed.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(packed)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(text)
	}
}

func TestSupport(t *testing.T) {
	file := &written{}
	out := ask(t, supported(t, file), nil, "support")
	files := unpack(t, file)
	want := map[string]string{
		"version.txt": "", "status.txt": "PROBLEM", "dump.json": `"kind":"NodeCPU"`, "objects.json": `"name":"TOKEN"`, "events.json": `"reason":"Pinned"`,
		"notes.txt":                         "logs/quiet.agent.log: the kubelet does not answer\n",
		"logs/restarted.agent.log":          "agent of restarted, false\n",
		"logs/restarted.agent.previous.log": "agent of restarted, true\n",
	}
	for name, text := range want {
		got, ok := files["corepin-support/"+name]
		if !ok || !strings.Contains(got, text) {
			t.Errorf("%s: want %q in\n%.2000s", name, text, got)
		}
		if strings.Contains(got, "secret") || strings.Contains(got, "managed") {
			t.Errorf("%s has a secret, or who manages which field:\n%.2000s", name, got)
		}
	}
	if len(files) != len(want) {
		t.Errorf("got files %v", slices.Sorted(maps.Keys(files)))
	}
	for _, text := range []string{"corepin-support-20261130T120000Z.tar.gz: 8 files, ", "left out: objects of namespace corepin-system: listing configmaps: forbidden\n",
		"left out: events of corepin-scheduler: forbidden\n", "left out: events of corepin: forbidden\n", "\nexit 0\n"} {
		if !strings.Contains(out, text) {
			t.Errorf("want %q in\n%s", text, out)
		}
	}
}

// Where nothing can be read there is no archive. Where corepin's objects can be, there is one that says what is missing.
func TestSupportOfABrokenCluster(t *testing.T) {
	file := &written{}
	host := supported(t, file)
	host.Cluster = func(context.Context) (Cluster, error) {
		return Cluster{}, errors.New("listing NodeCPU objects: not found")
	}
	out := ask(t, host, nil, "support")
	if !strings.Contains(out, "left out: status: error: listing NodeCPU objects: not found\n") || !strings.HasSuffix(out, "exit 0\n") {
		t.Errorf("got\n%s", out)
	}
	out = ask(t, host, nil, "support", "-n", "other")
	if !strings.Contains(out, "listing NodeCPU objects: not found\n") || !strings.HasSuffix(out, "exit 2\n") {
		t.Errorf("nothing can be read: got\n%s", out)
	}
	if out := ask(t, Host{Connection: connection(), Now: host.Now}, nil, "support"); out != "error: there is no cluster to ask\nexit 2\n" {
		t.Errorf("no cluster: got\n%s", out)
	}
}

func TestTail(t *testing.T) {
	for length, want := range map[int]int{0: 0, 9: 9, 10: 10, 11: 10, 200_000: 10} {
		text := strings.Repeat("x", max(0, length-1)) + strings.Repeat("y", min(1, length))
		got, err := tail(strings.NewReader(text), 10)
		if err != nil || len(got) != want || length > 0 && got[len(got)-1] != 'y' {
			t.Errorf("of %d bytes: got %q, %v", length, got, err)
		}
	}
}
