// SPDX-License-Identifier: Apache-2.0

// Command release makes what a release of corepin ships, all of it in one folder:
//
//	corepin-scheduler-k1.NN.tar                the scheduler's image for each minor of Kubernetes, as an OCI archive for all platforms
//	corepin-agent.tar                          the agent's image, which is for all minors
//	images.txt                                 their names with their digests
//	install-k1.NN.yaml                         manifests/base with these images; kubectl apply --filename=install-k1.36.yaml
//	admission.yaml                             manifests/admission
//	corepin-VERSION.tgz                        the Helm chart
//	kubectl-corepin-OS-ARCH.tar.gz             the kubectl plugin; a .zip for Windows
//	corepin.yaml                               its manifest for krew
//	*.spdx.json                                what each program is made of
//	CHANGELOG.md                               what has changed since the release before
//	corepin-*.sig.tar                          the images' signatures where there is a key, as OCI archives
//	SHA256SUMS, SHA256SUMS.sig                 the files' checksums, and a signature where there is a key
//
// The version is that of hack/version.sh. At a commit that is no release the same is made, to be tried, with images tagged
// dev. The same commit gives the same bytes, but for the signatures. The key may be on another machine than the one that
// builds: -sign adds the signatures to a release that is there.
//
//	go run ./hack/release -out bin/release -key key.pem -url https://example.com/v0.1.0
//	go run ./hack/release -out bin/release -key key.pem -sign
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// release is what is released, and where it goes.
type release struct {
	out string
	// version is as hack/version.sh has it, commit and date too.
	version, commit, date string
	ldflags               string
	// url is where users will find the files.
	url string
}

// maker makes some of the files.
type maker struct {
	what string
	make func() error
}

func main() {
	out := flag.String("out", "bin/release", "directory to write to; it must be empty or not there")
	key := flag.String("key", "", "file with a private key, PEM, to sign the images and the checksums with; empty means no signatures")
	only := flag.Bool("sign", false, "sign the release that is in -out, and make nothing else")
	url := flag.String("url", "", "where the files will be found, for krew's manifest; empty means the repository's releases")
	flag.Parse()
	var err error
	if *only {
		err = signAgain(*out, *key)
	} else {
		err = run(*out, *key, *url)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(out, key, url string) error {
	r, err := newRelease(out, url)
	if err != nil {
		return err
	}
	for _, m := range []maker{
		{"images", r.images},
		{"manifests", r.manifests},
		{"chart", r.chart},
		{"kubectl plugin", r.plugin},
		{"check of the plugin's manifest", r.checkPlugin},
		{"changelog", r.changelog},
		{"signatures and checksums", func() error { return r.finish(key) }},
	} {
		fmt.Printf("%s of %s\n", m.what, r.version)
		if err := m.make(); err != nil {
			return fmt.Errorf("making the %s: %w", m.what, err)
		}
	}
	return nil
}

// newRelease asks the scripts that every build asks, and makes the folder.
func newRelease(out, url string) (*release, error) {
	left, err := os.ReadDir(out)
	if err == nil && len(left) > 0 {
		return nil, fmt.Errorf("%s is not empty; remove it or name another directory with -out", out)
	}
	words, err := output("hack/version.sh")
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(words)
	if len(fields) != 3 {
		return nil, fmt.Errorf("hack/version.sh prints %q, and not a version, a commit and a date", words)
	}
	ldflags, err := output("hack/ldflags.sh")
	if err != nil {
		return nil, err
	}
	r := &release{out: out, version: fields[0], commit: fields[1], date: fields[2], ldflags: ldflags, url: url}
	if r.url == "" {
		r.url = "https://corepin.dev/releases/" + r.version
	}
	return r, os.MkdirAll(out, 0o755)
}

// output is what a command of this repository prints.
func output(name string, args ...string) (string, error) {
	text, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("running %s (start this in the root of the repository): %w", name, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// images leaves the images to the command that makes them everywhere else.
func (r *release) images() error {
	cmd := exec.Command("go", "run", "./hack/images", "-out", r.out, "-minors", "all")
	cmd.Stdout = os.Stdout
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// image is an image of the release.
type image struct {
	// name is without a tag, and reference with tag and digest.
	name, reference string
	// minor is that of the Kubernetes that it is for; "" is any.
	minor string
}

// suffixed is a tag for one minor, as hack/images makes it, and its digest.
var suffixed = regexp.MustCompile(`-k(1\.[0-9]+)@`)

// file is what the names of an image's files begin with, and what its digest is called in the chart.
func (i image) file() string {
	if i.minor == "" {
		return path.Base(i.name)
	}
	return path.Base(i.name) + "-k" + i.minor
}

// made are the images that hack/images has made.
func (r *release) made() ([]image, error) {
	text, err := os.ReadFile(filepath.Join(r.out, "images.txt"))
	if err != nil {
		return nil, err
	}
	var images []image
	for _, line := range strings.Fields(string(text)) {
		name, rest, ok := strings.Cut(line, ":")
		if !ok || !strings.Contains(rest, "@sha256:") {
			return nil, fmt.Errorf("images.txt has %q, and not NAME:TAG@sha256:DIGEST", line)
		}
		i := image{name: name, reference: line}
		if found := suffixed.FindStringSubmatch(rest); found != nil {
			i.minor = found[1]
		}
		images = append(images, i)
	}
	return images, nil
}

// byMinor are the references of the images that are for one minor, or for all, by their names: for each minor.
func byMinor(images []image) map[string]map[string]string {
	each := map[string]map[string]string{}
	for _, i := range images {
		if i.minor != "" {
			each[i.minor] = map[string]string{}
		}
	}
	for minor, references := range each {
		for _, i := range images {
			if i.minor == "" || i.minor == minor {
				references[i.name] = i.reference
			}
		}
	}
	return each
}

func (r *release) write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(r.out, name), data, 0o644)
}
