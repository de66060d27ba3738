// SPDX-License-Identifier: Apache-2.0

// Command images builds the container images that the manifests name, without a container engine.
//
// For each of corepin-scheduler and corepin-agent it writes one OCI archive with an image for every
// platform, ready for `ctr images import`, `podman load`, `docker load` or `skopeo copy oci-archive:`.
// An image is one static binary and an SPDX list of what it is made of: no shell, no package to patch, no base to
// fetch. The same list lies beside the archive, one for each platform, and images.txt has the images' names with their
// digests. The same commit gives the same bytes: paths are trimmed and every time is the epoch.
//
// The images have the version of the tree as a label. Their tag is that version at a release, and dev, as
// manifests/base names it, otherwise.
//
// A scheduler fits an API server of its own minor of Kubernetes, and of the next. With -minors there is one image of it for each
// minor, and tag and file say which: v0.2.0-k1.37, corepin-scheduler-k1.37.tar. Without, there is one, on the Kubernetes of go.mod.
// The agent fits all.
//
//	go run ./hack/images -out bin/images -tag dev -platforms linux/amd64,linux/arm64 -components corepin-agent
//	go run ./hack/images -out bin/images -minors all
//
// It also makes an image of a layer that somebody else made, a tar archive, for the machines of the system suite:
//
//	go run ./hack/images -layer files.tar -reference corepin.dev/busybox:1 -config '{"Entrypoint":["/bin/sh"]}' -out busybox.tar
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"corepin.dev/corepin/hack/sbom"
)

// component is one binary and how its image runs it.
type component struct {
	Name    string // of the binary and the image
	Package string // that it is built from
	User    string // "uid:gid"
	Title   string // for people who look at the image
	Minors  bool   // there is one for each minor of Kubernetes
	Minor   string // of Kubernetes, where it is for one; "" is that of go.mod
}

// suffix is what the tag and the files of a component for one minor end in.
func (c component) suffix() string {
	if c.Minor == "" {
		return ""
	}
	return "-k" + c.Minor
}

// file is the component's name, with the minor.
func (c component) file() string { return c.Name + c.suffix() }

// command is a command of which go builds the component with the Kubernetes of its minor.
func (c component) command(name string, args ...string) *exec.Cmd {
	if c.Minor == "" {
		return exec.Command(name, args...)
	}
	return exec.Command("hack/minor.sh", append([]string{c.Minor, name}, args...)...)
}

var components = []component{
	{Name: "corepin-scheduler", Package: "./scheduler", User: "65532:65532", Title: "kube-scheduler with corepin's plugin DedicatedCPU", Minors: true},
	// Root, since what it reads belongs to root: see manifests/base/agent/daemonset.yaml.
	{Name: "corepin-agent", Package: "./agent", User: "0:0", Title: "corepin's node agent"},
}

// repository is the part of an image's name before the component's; overlays replace it.
const repository = "corepin.dev"

func main() {
	out := flag.String("out", "bin/images", "directory to write the archives to; with -layer, the archive")
	tag := flag.String("tag", "", "tag of the images; empty means the version of a release, and dev for any other commit")
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "platforms to build for, comma separated")
	only := flag.String("components", "", "components to build, comma separated; empty means all")
	minors := flag.String("minors", "", "minors of Kubernetes to build the scheduler with, comma separated, or all; empty means that of go.mod")
	layer := flag.String("layer", "", "tar archive to make an image of, in place of the components")
	name := flag.String("reference", "", "name of the image of -layer")
	config := flag.String("config", "{}", "how the image of -layer runs, as an OCI image has it, in JSON")
	flag.Parse()
	chosen, err := choose(*only)
	if err == nil {
		chosen, err = forMinors(chosen, *minors)
	}
	switch {
	case err != nil:
	case *layer != "":
		err = wrap(*layer, *name, *config, *out)
	default:
		err = run(*out, *tag, strings.Split(*platforms, ","), chosen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// choose finds components by their names, comma separated; none are all.
func choose(names string) ([]component, error) {
	if names == "" {
		return components, nil
	}
	var chosen []component
	for _, name := range strings.Split(names, ",") {
		i := slices.IndexFunc(components, func(c component) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("reading -components: there is no %q", name)
		}
		chosen = append(chosen, components[i])
	}
	return chosen, nil
}

// forMinors are the components with one for each minor where there is one for each. minors is the flag's value.
func forMinors(chosen []component, minors string) ([]component, error) {
	if minors == "" {
		return chosen, nil
	}
	words, err := exec.Command("hack/minor.sh", "list").Output()
	if err != nil {
		return nil, fmt.Errorf("running hack/minor.sh (start this in the root of the repository): %w", err)
	}
	all := strings.Fields(string(words))
	wanted := all
	if minors != "all" {
		wanted = strings.Split(minors, ",")
	}
	var each []component
	for _, c := range chosen {
		if !c.Minors {
			each = append(each, c)
			continue
		}
		for _, minor := range wanted {
			if !slices.Contains(all, minor) {
				return nil, fmt.Errorf("reading -minors: there is no %q; there are %v", minor, all)
			}
			c.Minor = minor
			each = append(each, c)
		}
	}
	return each, nil
}

// source is what the images are built from.
type source struct {
	version, commit, date string
}

// readSource asks the script that every build asks.
func readSource() (source, error) {
	words, err := exec.Command("hack/version.sh").Output()
	if err != nil {
		return source{}, fmt.Errorf("running hack/version.sh (start this in the root of the repository): %w", err)
	}
	fields := strings.Fields(string(words))
	if len(fields) != 3 {
		return source{}, fmt.Errorf("hack/version.sh prints %q, and not a version, a commit and a date", words)
	}
	return source{version: fields[0], commit: fields[1], date: fields[2]}, nil
}

// ldflags asks the script that every build asks.
func ldflags(c component) (string, error) {
	flags, err := c.command("hack/ldflags.sh").Output()
	if err != nil {
		return "", fmt.Errorf("running hack/ldflags.sh (start this in the root of the repository): %w", err)
	}
	return strings.TrimSpace(string(flags)), nil
}

var release = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?$`)

// tag is the tag of images that nobody has named: the version of a release, and what manifests/base names otherwise.
func (s source) tag() string {
	if release.MatchString(s.version) {
		return s.version
	}
	return "dev"
}

// run builds the components for every platform and writes one archive each into directory out.
func run(out, tag string, platforms []string, components []component) error {
	from, err := readSource()
	if err != nil {
		return err
	}
	if tag == "" {
		tag = from.tag()
	}
	binaries, err := os.MkdirTemp("", "corepin-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)
	var made strings.Builder
	for _, c := range components {
		flags, err := ldflags(c)
		if err != nil {
			return err
		}
		var images []v1.Image
		for _, name := range platforms {
			image, err := build(c, name, flags, from, filepath.Join(binaries, c.file()), out)
			if err != nil {
				return err
			}
			images = append(images, image)
		}
		path := filepath.Join(out, c.file()+".tar")
		digest, err := writeArchive(path, reference(c, tag), images)
		if err != nil {
			return err
		}
		fmt.Fprintf(&made, "%s@%s\n", reference(c, tag), digest)
		fmt.Printf("wrote %s: %s@%s\n", path, reference(c, tag), digest)
	}
	return os.WriteFile(filepath.Join(out, "images.txt"), []byte(made.String()), 0o644)
}

const sbomSuffix = ".spdx.json"

// build makes a component's image for a platform, and writes the list of what it is made of into directory out.
func build(c component, platformName, ldflags string, from source, binaries, out string) (v1.Image, error) {
	platform, err := v1.ParsePlatform(platformName)
	if err != nil {
		return nil, fmt.Errorf("reading -platforms: %w", err)
	}
	fmt.Printf("building %s for %s\n", c.file(), platform)
	name := strings.ReplaceAll(platformName, "/", "-")
	binary := filepath.Join(binaries, name, c.Name)
	if err := compile(c, *platform, ldflags, binary); err != nil {
		return nil, err
	}
	list, err := sbom.Of(binary, from.version, from.date)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	for _, file := range []string{binary + sbomSuffix, filepath.Join(out, c.file()+"-"+name+sbomSuffix)} {
		if err := os.WriteFile(file, list, 0o644); err != nil {
			return nil, err
		}
	}
	layer, err := layerOf(binary, binary+sbomSuffix)
	if err != nil {
		return nil, err
	}
	image, err := assemble(layer, *platform, config(c, from))
	if err != nil {
		return nil, fmt.Errorf("making the image of %s: %w", c.Name, err)
	}
	return image, nil
}

// wrap makes an image of one layer for this kind of machine and writes its archive.
func wrap(layer, reference, config, archive string) error {
	var how v1.Config
	if err := json.Unmarshal([]byte(config), &how); err != nil {
		return fmt.Errorf("reading -config: %w", err)
	}
	files, err := tarball.LayerFromFile(layer, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return fmt.Errorf("reading -layer: %w", err)
	}
	image, err := assemble(files, v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}, how)
	if err != nil {
		return fmt.Errorf("making the image of %s: %w", layer, err)
	}
	digest, err := writeArchive(archive, reference, []v1.Image{image})
	if err != nil {
		return err
	}
	fmt.Printf("wrote %s: %s@%s\n", archive, reference, digest)
	return nil
}

// reference is the name under which a component's image is imported.
func reference(c component, tag string) string {
	return repository + "/" + c.Name + ":" + tag + c.suffix()
}

// compile builds a component as a static binary for platform. Its output depends on the sources alone.
func compile(c component, platform v1.Platform, ldflags, output string) error {
	cmd := c.command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", output, c.Package)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s for %s: %w", c.file(), platform, err)
	}
	return nil
}
