// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/spdx/tools-golang/json"
)

const program = "package main\n\nfunc main() { println(\"hello\") }\n"

var tested = source{version: "v1", commit: "abc", date: "2026-01-02T03:04:05Z"}

// archive makes an archive of a small program for platforms, the way run does.
func archive(t *testing.T, platforms ...string) string {
	t.Helper()
	small := components[0]
	small.Package = filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(small.Package, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	var images []v1.Image
	for _, name := range platforms {
		image, err := build(small, name, "-s -w", tested, t.TempDir(), out)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	file := filepath.Join(out, "image.tar")
	if _, err := writeArchive(file, reference(small, "v1"), images); err != nil {
		t.Fatal(err)
	}
	return file
}

// unpack reads an archive back: its index, and the names of the image in it.
func unpack(t *testing.T, archive string) (v1.ImageIndex, map[string]string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dir, header.Name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the archive names %d images, want 1", len(manifest.Manifests))
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index, manifest.Manifests[0].Annotations
}

func TestArchiveHasWhatANodeNeeds(t *testing.T) {
	index, annotations := unpack(t, archive(t, "linux/amd64", "linux/arm64"))
	if err := validate.Index(index); err != nil {
		t.Errorf("a registry would not take this: %v", err)
	}
	for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
		if got, want := annotations[key], "corepin.dev/corepin-scheduler:v1"; got != want {
			t.Errorf("annotation %s is %q, want %q", key, got, want)
		}
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		platform string
		machine  elf.Machine
	}{{"linux/amd64", elf.EM_X86_64}, {"linux/arm64", elf.EM_AARCH64}}
	if len(manifest.Manifests) != len(want) {
		t.Fatalf("%d images, want %d", len(manifest.Manifests), len(want))
	}
	for i, descriptor := range manifest.Manifests {
		if got := descriptor.Platform.String(); got != want[i].platform {
			t.Errorf("the index says %s, want %s", got, want[i].platform)
		}
		if descriptor.ArtifactType != "" {
			t.Errorf("the index has artifactType %s, with which skopeo 1.9 changes its digest", descriptor.ArtifactType)
		}
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkConfig(t, image, want[i].platform)
		checkBinary(t, image, want[i].machine)
	}
}

func TestWrapsALayer(t *testing.T) {
	dir := t.TempDir()
	files, archive := filepath.Join(dir, "files.tar"), filepath.Join(dir, "image.tar")
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := errors.Join(addFile(w, "a", 0o644, []byte("content")), w.Close(), os.WriteFile(files, layer.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := wrap(files, "corepin.dev/a:1", `{"Entrypoint":["/a"],"Env":["B=c"]}`, archive); err != nil {
		t.Fatal(err)
	}
	index, annotations := unpack(t, archive)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	if got := annotations["io.containerd.image.name"]; got != "corepin.dev/a:1" {
		t.Errorf("the archive imports as %q", got)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil || len(config.Config.Entrypoint) != 1 || len(config.Config.Env) != 1 {
		t.Errorf("the image runs as %+v (err %v)", config, err)
	}
}

func checkConfig(t *testing.T, image v1.Image, platform string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Platform().String(); got != platform {
		t.Errorf("the image says %s, want %s", got, platform)
	}
	if got := config.Config.Entrypoint; len(got) != 1 || got[0] != "/corepin-scheduler" {
		t.Errorf("%s: entrypoint is %q, want /corepin-scheduler", platform, got)
	}
	if got := config.Config.User; got != "65532:65532" {
		t.Errorf("%s: user is %q, want 65532:65532", platform, got)
	}
	for label, want := range map[string]string{"version": tested.version, "revision": tested.commit, "created": tested.date} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("%s: label %s is %q, want %s", platform, label, got, want)
		}
	}
}

// checkBinary looks into the binary of the image, and the list of what it is made of.
func checkBinary(t *testing.T, image v1.Image, machine elf.Machine) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, err %v; want 1", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	r := tar.NewReader(content)
	header, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if header.Name != "corepin-scheduler" || header.Mode != 0o755 || header.Uid != 0 {
		t.Errorf("file is %s, mode %o, uid %d; want corepin-scheduler, 755, 0", header.Name, header.Mode, header.Uid)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if binary.Machine != machine {
		t.Errorf("the binary is for %s, want %s", binary.Machine, machine)
	}
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the binary wants libraries %v (err %v), and the image has none", libraries, err)
	}
	header, err = r.Next()
	if err != nil || header.Name != "corepin-scheduler.spdx.json" || header.Mode != 0o644 {
		t.Fatalf("beside the binary is %v (err %v), want corepin-scheduler.spdx.json, 644", header, err)
	}
	list, err := json.Read(r)
	if err != nil || list.Packages[0].PackageVersion != tested.version {
		t.Errorf("the list is not that of %s: %v", tested.version, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error("the image has more than its binary and the list")
	}
}

func TestSameSourceGivesSameBytes(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		data, err := os.ReadFile(archive(t, "linux/amd64"))
		if err != nil {
			t.Fatal(err)
		}
		archives[i] = data
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two builds of the same source differ")
	}
}

func TestFailuresLeaveNoArchive(t *testing.T) {
	if err := run(t.TempDir(), "v1", []string{"linux/amd64"}, components); err == nil {
		t.Error("run outside the root of the repository succeeded")
	}
	if _, err := layerOf("no-such-file", "no-such-list"); err == nil {
		t.Error("a layer of no binary was made")
	}
	if err := wrap("no-such-file", "a:1", "{}", filepath.Join(t.TempDir(), "a.tar")); err == nil {
		t.Error("an image of no layer was made")
	}
	if _, err := choose("corepin-agent,no-such-component"); err == nil {
		t.Error("a component that is not there was chosen")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "image.tar")
	if err := tarDirectory(file, filepath.Join(dir, "missing")); err == nil {
		t.Error("an archive of a missing directory was made")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a failed build left %v (err %v)", left, err)
	}
}

func TestTag(t *testing.T) {
	for version, want := range map[string]string{
		"v0.1.0": "v0.1.0", "v1.2.3-rc.1": "v1.2.3-rc.1", "v0.1.0-dirty": "dev", "v0.1.0-5-g1234567890ab": "dev", "v0.0.0-unknown": "dev",
	} {
		if got := (source{version: version}).tag(); got != want {
			t.Errorf("version %s is tagged %s, want %s", version, got, want)
		}
	}
}

// What the scripts say of this tree.
func TestReadSource(t *testing.T) {
	t.Chdir("../..")
	from, err := readSource()
	if err != nil {
		t.Fatal(err)
	}
	flags, err := ldflags(components[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"version": from.version, "commit": from.commit, "date": from.date} {
		if flag := "-X corepin.dev/corepin/pkg/version." + name + "=" + value; !strings.Contains(flags, flag) {
			t.Errorf("the linker's flags %q do not have %q", flags, flag)
		}
	}
}

// The scheduler is built with each minor, and tag, file and linker's flags say which.
func TestMinors(t *testing.T) {
	t.Chdir("../..")
	all, err := forMinors(components, "all")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range all {
		flags, err := ldflags(c)
		if err != nil || c.Minor != "" && !strings.Contains(flags, "/version.gitVersion=v"+c.Minor+".") {
			t.Errorf("%s is built with %q (err %v)", c.file(), flags, err)
		}
		names = append(names, c.file()+" "+reference(c, "v1"))
	}
	text := strings.Join(names, "\n")
	for _, want := range []string{"corepin-scheduler-k1.35 corepin.dev/corepin-scheduler:v1-k1.35", "corepin-scheduler-k1.36 ", "corepin-agent corepin.dev/corepin-agent:v1"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not among\n%s", want, text)
		}
	}
	one, err := forMinors(components, "1.35")
	if err != nil || len(one) != len(components) || one[0].Minor != "1.35" || one[1].Minor != "" {
		t.Errorf("with -minors 1.35 these are built: %v (err %v)", one, err)
	}
	if _, err := forMinors(components, "1.2"); err == nil {
		t.Error("a minor that is not there was chosen")
	}
}
