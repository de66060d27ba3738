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
	manifest := krewManifest(r.version)
	for _, p := range platforms {
		sum, err := r.pluginFor(p, pluginPackage, licence)
		if err != nil {
			return err
		}
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, krewPlatform{
			Selector: map[string]any{"matchLabels": map[string]string{"os": p.os, "arch": p.arch}},
			URI:      r.url + "/" + p.archive(), Sha256: sum, Bin: p.binary(),
		})
	}
	data, err := yaml.Marshal(manifest)
	if err != nil {
		return err
	}
	return r.write("corepin.yaml", data)
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
	Selector map[string]any `json:"selector"`
	URI      string         `json:"uri"`
	Sha256   string         `json:"sha256"`
	Bin      string         `json:"bin"`
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
