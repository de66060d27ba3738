// SPDX-License-Identifier: Apache-2.0

// Package manifests holds the YAML that installs corepin, and renders it.
//
// It is a kustomize tree: base is everything, overlays show how to change it, examples are virtual
// machines to try, and monitoring is for Prometheus and Grafana. The files are embedded, so that the tests and the demo apply, byte for byte, what
// `kubectl apply -k` applies; there is no second copy that could say something else.
package manifests

import (
	"embed"
	"fmt"
	"io/fs"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// FS is the tree, with the paths it has in this folder.
//
//go:embed admission base examples monitoring overlays
var FS embed.FS

// Build gives what `kubectl kustomize` prints for the kustomization in dir of tree, for example "base"
// in FS: a stream of YAML documents. Any tree will do, so that a test can put a file in place of ours.
func Build(tree fs.FS, dir string) ([]byte, error) {
	disk := filesys.MakeFsInMemory()
	copyFile := func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		return disk.WriteFile(path, data)
	}
	if err := fs.WalkDir(tree, ".", copyFile); err != nil {
		return nil, fmt.Errorf("reading the manifests: %w", err)
	}
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, dir)
	if err != nil {
		return nil, fmt.Errorf("building kustomization %s: %w", dir, err)
	}
	return objects.AsYaml()
}
