// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestCopySparse(t *testing.T) {
	const block = 1 << 16
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	for name, content := range map[string][]byte{
		"empty":           {},
		"zeros at end":    slices.Concat([]byte("data"), make([]byte, 3*block)),
		"zeros in middle": slices.Concat([]byte("data"), make([]byte, 3*block), []byte("end")),
		"whole blocks":    bytes.Repeat([]byte{1}, 2*block),
	} {
		if err := os.WriteFile(from, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := copySparse(to, from); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes became %d others (err %v)", name, len(content), len(got), err)
		}
	}
	if err := copySparse(to, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a file that is not there was copied")
	}
}

func TestCommandDescribesTheShape(t *testing.T) {
	m := &Machine{options: Options{Name: "numa", Dir: "/d", Parts: "/p", MemoryMiB: 4096, GiBPages: 1, APIServer: "127.0.0.1:6443",
		Shape: Shape{NUMANodes: 2, Cores: 4, Threads: 2}}, commands: "127.0.0.1:1", kubelet: "127.0.0.1:2"}
	command := strings.Join(m.command("").Args, " ")
	for _, part := range []string{
		"-smp 16,sockets=2,cores=4,threads=2",
		"-numa node,nodeid=0,cpus=0-7,memdev=mem0",
		"-numa node,nodeid=1,cpus=8-15,memdev=mem1",
		"id=mem1,size=2048M",
		"hugepagesz=1G hugepages=0:1,1:1",
		"hostfwd=tcp:127.0.0.1:1-:7000,hostfwd=tcp:127.0.0.1:2-:10250",
	} {
		if !strings.Contains(command, part) {
			t.Errorf("no %q in %s", part, command)
		}
	}
}

func TestSettings(t *testing.T) {
	settings := Settings{Reserved: "0,1", TopologyPolicy: "restricted", CPUOptions: map[string]string{"full-pcpus-only": "true"}}
	data, err := yaml.Marshal(settings.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"cpuManagerPolicy: static", "full-pcpus-only: \"true\"", "reservedSystemCPUs: 0,1", "topologyManagerPolicy: restricted"} {
		if !strings.Contains(string(data), line) {
			t.Errorf("no line %q in\n%s", line, data)
		}
	}
}

func TestReservedMemoryComesToWhatTheKubeletKeeps(t *testing.T) {
	data, err := yaml.Marshal(Settings{ReservedMiB: []int{512, 256}}.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"kubeReserved:\n  memory: 668Mi\n", "memoryManagerPolicy: Static\n",
		"reservedMemory:\n- limits:\n    memory: 512Mi\n  numaNode: 0\n- limits:\n    memory: 256Mi\n  numaNode: 1\n"} {
		if !strings.Contains(string(data), part) {
			t.Errorf("no %q in\n%s", part, data)
		}
	}
}

func TestHugePagesOfNUMAMaps(t *testing.T) {
	got, err := hugePagesOf(`7f0000000000 default file=/dev/hugepages/libvirt/qemu/1-vms_a/ram huge dirty=32 N0=2 N1=30 kernelpagesize_kB=2048
7f1000000000 default file=/dev/hugepages/N huge
7f2000000000 default anon huge dirty=1 N1=1 kernelpagesize_kB=2048
`)
	if err != nil || !maps.Equal(got, map[int]int{0: 2, 1: 31}) {
		t.Errorf("got %v (%v)", got, err)
	}
	if _, err := hugePagesOf("N0=many"); err == nil {
		t.Error("a number that is none was read")
	}
}

func TestKubeconfigIsWholeInItself(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"c.crt": "certificate", "c.key": "key", "kubeconfig": `apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Y2E=}}]
users: [{name: a, user: {client-certificate: c.crt, client-key: c.key}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, ca, err := insideKubeconfig(filepath.Join(dir, "kubeconfig"), "127.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	if string(ca) != "ca" {
		t.Errorf("the authority's certificate is %q", ca)
	}
	for _, part := range []string{"https://10.0.2.2:6443", "tls-server-name: kubernetes", "client-key-data: a2V5"} {
		if !strings.Contains(string(config), part) {
			t.Errorf("no %q in\n%s", part, config)
		}
	}
	if strings.Contains(string(config), dir) {
		t.Errorf("a file of the host is named in\n%s", config)
	}
}
