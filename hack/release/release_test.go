// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"corepin.dev/corepin/manifests"
)

func tested(t *testing.T) *release {
	return &release{out: t.TempDir(), version: "v1.2.3", date: "2026-01-02T03:04:05Z", ldflags: "-s -w", url: "https://example.com/v1.2.3"}
}

func TestInstallNamesImagesByDigest(t *testing.T) {
	base, err := manifests.Build(manifests.FS, "base")
	if err != nil {
		t.Fatal(err)
	}
	references := map[string]string{}
	for _, name := range []string{"corepin.dev/corepin-scheduler", "corepin.dev/corepin-agent"} {
		references[name] = name + ":v1.2.3@sha256:" + strings.Repeat("a", 64)
	}
	made, err := withImages(base, references)
	if err != nil {
		t.Fatal(err)
	}
	for _, reference := range references {
		if got := bytes.Count(made, []byte("image: "+reference+"\n")); got != 1 {
			t.Errorf("%s is run %d times, want once", reference, got)
		}
	}
	references["corepin.dev/other"] = "corepin.dev/other:v1@sha256:b"
	if _, err := withImages(base, references); err == nil {
		t.Error("an image that nothing runs is no error")
	}
	delete(references, "corepin.dev/other")
	delete(references, "corepin.dev/corepin-agent")
	if _, err := withImages(base, references); err == nil {
		t.Error("an image that is not made is no error")
	}
}

func TestImageReferences(t *testing.T) {
	r := tested(t)
	if _, err := r.made(); err == nil {
		t.Error("a missing images.txt is no error")
	}
	if err := r.write("images.txt", []byte("corepin.dev/corepin-agent:v1\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.made(); err == nil {
		t.Error("an image without a digest is no error")
	}
}

// The objects of each minor of Kubernetes have the scheduler of that minor, and the one agent.
func TestEachMinorHasItsObjects(t *testing.T) {
	r := tested(t)
	if err := r.write("images.txt", []byte(imagesText)); err != nil {
		t.Fatal(err)
	}
	if err := r.manifests(); err != nil {
		t.Fatal(err)
	}
	for minor, digest := range map[string]string{"1.35": "a", "1.36": "b"} {
		text := string(read(t, r.out, "install-k"+minor+".yaml"))
		for _, want := range []string{"for Kubernetes " + minor + "\n", "image: corepin.dev/corepin-scheduler:v1.2.3-k" + minor + "@sha256:" + digest + "\n",
			"image: corepin.dev/corepin-agent:v1.2.3@sha256:c\n"} {
			if strings.Count(text, want) != 1 {
				t.Errorf("install-k%s.yaml has %q %d times, want once", minor, want, strings.Count(text, want))
			}
		}
	}
}

// imagesText is images.txt of a release.
const imagesText = `corepin.dev/corepin-scheduler:v1.2.3-k1.35@sha256:a
corepin.dev/corepin-scheduler:v1.2.3-k1.36@sha256:b
corepin.dev/corepin-agent:v1.2.3@sha256:c
`

func TestChartHasTheVersion(t *testing.T) {
	r := tested(t)
	if err := r.write("images.txt", []byte(imagesText)); err != nil {
		t.Fatal(err)
	}
	images, err := r.made()
	if err != nil {
		t.Fatal(err)
	}
	files, err := chartFiles(os.DirFS("../../"+chartDir), "1.2.3", images)
	if err != nil {
		t.Fatal(err)
	}
	data, err := tarGz(files)
	if err != nil {
		t.Fatal(err)
	}
	unpacked := untar(t, data)
	metadata := string(unpacked["corepin/Chart.yaml"])
	for _, line := range []string{"version: 1.2.3\n", "appVersion: v1.2.3\n", "name: corepin\n", "corepin.dev/agent-digest: sha256:c\n",
		"corepin.dev/scheduler-k1.35-digest: sha256:a\n", "corepin.dev/scheduler-k1.36-digest: sha256:b\n"} {
		if !strings.Contains(metadata, line) {
			t.Errorf("Chart.yaml lacks %q:\n%s", line, metadata)
		}
	}
	for _, name := range []string{"corepin/values.yaml", "corepin/values.schema.json", "corepin/files/crd.yaml", "corepin/templates/tests/installation.yaml"} {
		if len(unpacked[name]) == 0 {
			t.Errorf("the chart lacks %s", name)
		}
	}
	if _, err := chartFiles(fstest.MapFS{}, "1.2.3", images); err == nil {
		t.Error("an empty chart is no error")
	}
	images = append(images, image{name: "corepin.dev/other", reference: "corepin.dev/other:v1"})
	if _, err := chartFiles(os.DirFS("../../"+chartDir), "1.2.3", images); err == nil {
		t.Error("an image without a digest is no error")
	}
}

func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return untarred(t, compressed)
}

func untarred(t *testing.T, archive io.Reader) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name], err = io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What users download holds the program and the licence, and krew's checksum is that of the file.
func TestPluginArchives(t *testing.T) {
	pkg := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(pkg, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := tested(t)
	for _, p := range []platform{{"linux", "amd64"}, {"windows", "amd64"}} {
		sum, err := r.pluginFor(p, pkg, []byte("licence"))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(r.out, p.archive()))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
			t.Errorf("%s: checksum %s, want %s", p, sum, got)
		}
		again, err := r.pluginFor(p, pkg, []byte("licence"))
		if err != nil || again != sum {
			t.Errorf("%s: a second build has checksum %s (err %v), the first had %s", p, again, err, sum)
		}
	}
	if files := untar(t, read(t, r.out, "kubectl-corepin-linux-amd64.tar.gz")); len(files["kubectl-corepin"]) == 0 || string(files["LICENSE"]) != "licence" {
		t.Error("the archive for Linux lacks the program or the licence")
	}
	archive := read(t, r.out, "kubectl-corepin-windows-amd64.zip")
	files, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil || len(files.File) != 2 || files.File[0].Name != "kubectl-corepin.exe" {
		t.Errorf("the archive for Windows has %v (err %v)", files.File, err)
	}
	if list := read(t, r.out, "kubectl-corepin-linux-amd64.spdx.json"); !bytes.Contains(list, []byte(`"v1.2.3"`)) {
		t.Error("the list of modules does not have the version")
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestChanges(t *testing.T) {
	const want = `# corepin v1.2.3, 2026-01-02

## other

- a subject without an area

## agent

- b
- a

## pkg

- c
`
	got := changes("v1.2.3", "2026-01-02T03:04:05Z", []string{"agent/pinning: b", "pkg/cli, pkg/vmi: c", "a subject without an area", "agent: a"})
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// openssl makes the key and verifies the signature, as a user would.
func TestTheSignatureCanBeVerified(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
			t.Fatalf("openssl is missing, and COREPIN_REQUIRE_ALL=1 does not allow to skip: %v", err)
		}
		t.Skipf("SKIPPED: %v", err)
	}
	keys := t.TempDir()
	openssl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("openssl", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", keys+"/key.pem")
	openssl("ec", "-in", keys+"/key.pem", "-pubout", "-out", keys+"/public.pem")
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/install.yaml", []byte("objects\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sums(dir, keys+"/key.pem"); err != nil {
		t.Fatal(err)
	}
	if got := string(read(t, dir, sumsFile)); got != fmt.Sprintf("%x  install.yaml\n", sha256.Sum256([]byte("objects\n"))) {
		t.Errorf("%s is %q", sumsFile, got)
	}
	signature, err := base64.StdEncoding.DecodeString(string(read(t, dir, sumsFile+".sig")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys+"/signature", signature, 0o600); err != nil {
		t.Fatal(err)
	}
	openssl("dgst", "-sha256", "-verify", keys+"/public.pem", "-signature", keys+"/signature", dir+"/"+sumsFile)
}

func TestKeysThatDoNotFit(t *testing.T) {
	for name, text := range map[string]string{"no PEM": "text", "no key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"encrypted": "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sign([]byte("text"), file); err == nil {
			t.Errorf("%s: there is a signature", name)
		}
	}
	if _, err := sign([]byte("text"), filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a missing key gives a signature")
	}
}

func TestAFolderThatIsNotEmptyIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newRelease(dir, ""); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got error %v", err)
	}
}
