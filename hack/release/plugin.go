// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"corepin.dev/corepin/hack/sbom"
)

// platform is what the kubectl plugin is built for.
type platform struct{ os, arch string }

var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}}

const (
	plugin        = "kubectl-corepin"
	pluginPackage = "./pkg/kubectl-corepin"
)

func (p platform) String() string { return p.os + "-" + p.arch }

// binary is the plugin's name there.
func (p platform) binary() string {
	if p.os == "windows" {
		return plugin + ".exe"
	}
	return plugin
}

// archive is the name of the file that users download.
func (p platform) archive() string {
	if p.os == "windows" {
		return plugin + "-" + p.String() + ".zip"
	}
	return plugin + "-" + p.String() + ".tar.gz"
}

// plugin writes the kubectl plugin for each platform, and krew's manifest.
func (r *release) plugin() error {
	licence, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	return r.pluginOf(pluginPackage, licence)
}

// pluginOf is plugin for a program.
func (r *release) pluginOf(pkg string, licence []byte) error {
	manifest := krewManifest(r.version)
	for _, p := range platforms {
		sum, err := r.pluginFor(p, pkg, licence)
		if err != nil {
			return err
		}
		entry := krewPlatform{URI: r.url + "/" + p.archive(), Sha256: sum, Bin: p.binary()}
		entry.Selector.MatchLabels = map[string]string{"os": p.os, "arch": p.arch}
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, entry)
	}
	data, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	return r.write(krewFile, data)
}

// pluginFor builds pkg for a platform, and returns the checksum of the archive.
func (r *release) pluginFor(p platform, pkg string, licence []byte) (sum string, err error) {
	dir, err := os.MkdirTemp("", "corepin-release-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("building %s for %s\n", plugin, p)
	binary := filepath.Join(dir, p.binary())
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", r.ldflags, "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building %s for %s: %w", pkg, p, err)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	list, err := sbom.Of(binary, r.version, r.date)
	if err != nil {
		return "", err
	}
	if err := r.write(plugin+"-"+p.String()+".spdx.json", list); err != nil {
		return "", err
	}
	pack := tarGz
	if p.os == "windows" {
		pack = zipped
	}
	data, err := pack([]file{{p.binary(), 0o755, program}, {"LICENSE", 0o644, licence}})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(data)), r.write(p.archive(), data)
}
