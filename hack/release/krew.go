// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

const krewFile = "corepin.yaml"

// krew is a plugin's manifest, as krew.googlecontainertools.github.com/v1alpha2 has it.
type krew struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       struct {
		Version          string         `json:"version"`
		Homepage         string         `json:"homepage"`
		ShortDescription string         `json:"shortDescription"`
		Description      string         `json:"description"`
		Platforms        []krewPlatform `json:"platforms"`
	} `json:"spec"`
}

type krewPlatform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	Sha256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

func krewManifest(version string) krew {
	k := krew{APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: map[string]string{"name": "corepin"}}
	k.Spec.Version = version
	k.Spec.Homepage = "https://corepin.dev"
	k.Spec.ShortDescription = "Explain and check dedicated CPU cores of VMs"
	k.Spec.Description = "Tells which nodes can take a VM with dedicated CPU cores and why others cannot,\n" +
		"which CPUs each VM has and where its vCPUs run, and whether a VM's definition can\n" +
		"work before it is created. It reads a cluster, or files.\n"
	return k
}

// checkPlugin checks krew's manifest against the files that are released, as krew does when it installs the plugin: each
// platform has its archive, with that checksum, and the program is in it.
func (r *release) checkPlugin() error {
	data, err := os.ReadFile(filepath.Join(r.out, krewFile))
	if err != nil {
		return err
	}
	var k krew
	if err := yaml.UnmarshalStrict(data, &k); err != nil {
		return fmt.Errorf("reading %s: %w", krewFile, err)
	}
	if !semver.IsValid(k.Spec.Version) {
		return fmt.Errorf("%s: spec.version is %q, and krew takes a semantic version with a v", krewFile, k.Spec.Version)
	}
	var found []platform
	for _, p := range k.Spec.Platforms {
		if err := r.checkPlatform(&p); err != nil {
			return fmt.Errorf("%s: %w", krewFile, err)
		}
		found = append(found, platform{p.Selector.MatchLabels["os"], p.Selector.MatchLabels["arch"]})
	}
	if !slices.Equal(found, platforms) {
		return fmt.Errorf("%s: it is for %v, and the plugin is for %v", krewFile, found, platforms)
	}
	return nil
}

func (r *release) checkPlatform(p *krewPlatform) error {
	name, below := strings.CutPrefix(p.URI, r.url+"/")
	if !below || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%s is no file of %s", p.URI, r.url)
	}
	data, err := os.ReadFile(filepath.Join(r.out, name))
	if err != nil {
		return err
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(data)); sum != p.Sha256 {
		return fmt.Errorf("%s has the checksum %s, and the manifest %s", name, sum, p.Sha256)
	}
	executables, err := executablesIn(name, data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if !slices.Contains(executables, p.Bin) {
		return fmt.Errorf("%s has no program %s; it has %q", name, p.Bin, executables)
	}
	return nil
}

// executablesIn are the files of an archive that may be run. A .zip does not say which ones may, so it is all of them.
func executablesIn(name string, data []byte) ([]string, error) {
	var names []string
	if strings.HasSuffix(name, ".zip") {
		archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return nil, err
		}
		for _, f := range archive.File {
			names = append(names, f.Name)
		}
		return names, nil
	}
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for archive := tar.NewReader(compressed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Mode&0o111 != 0 {
			names = append(names, header.Name)
		}
	}
}
