// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func digest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// What krew would install is there for each platform, and a release that it could not install is an error.
func TestKrewManifestIsOfTheFiles(t *testing.T) {
	pkg := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(pkg, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := tested(t)
	if err := r.pluginOf(pkg, []byte("licence")); err != nil {
		t.Fatal(err)
	}
	if err := r.checkPlugin(); err != nil {
		t.Fatal(err)
	}
	manifest := read(t, r.out, krewFile)
	for _, p := range platforms {
		if want := "uri: https://example.com/v1.2.3/" + p.archive() + "\n"; strings.Count(string(manifest), want) != 1 {
			t.Errorf("the manifest does not have %q once:\n%s", want, manifest)
		}
	}
	const archive = "kubectl-corepin-linux-amd64.tar.gz"
	whole := read(t, r.out, archive)
	empty, err := tarGz([]file{{"kubectl-corepin", 0o644, nil}, {"LICENSE", 0o644, nil}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		from, to string // in the manifest
		archive  []byte // nil for none
		want     string
	}{
		"another archive":         {"", "", []byte("other"), "has the checksum"},
		"no archive":              {"", "", nil, "no such file"},
		"another place":           {"https://example.com/v1.2.3/" + archive, "https://example.com/v1.2.2/" + archive, whole, "is no file of https://example.com/v1.2.3"},
		"a folder above":          {"/v1.2.3/" + archive, "/v1.2.3/../" + archive, whole, "is no file of"},
		"another program":         {"bin: kubectl-corepin.exe", "bin: corepin.exe", whole, "has no program corepin.exe"},
		"a program that is data":  {digest(whole), digest(empty), empty, "has no program kubectl-corepin; it has []"},
		"no version":              {"version: v1.2.3", "version: dev", whole, "takes a semantic version"},
		"a platform that is none": {"os: darwin", "os: plan9", whole, "it is for [linux-amd64 linux-arm64 plan9-"},
		"a field that is none":    {"bin:", "binary:", whole, "unknown field"},
	} {
		changed := bytes.Replace(manifest, []byte(test.from), []byte(test.to), 1)
		if test.from == "" {
			changed = manifest
		}
		if err := r.write(krewFile, changed); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(r.out, archive)); err != nil {
			t.Fatal(err)
		}
		if test.archive != nil {
			if err := r.write(archive, test.archive); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.checkPlugin(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if err := r.write(archive, whole); err != nil {
			t.Fatal(err)
		}
	}
}
