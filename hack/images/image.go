// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is every time in an image and its archive: the time of the build would make each build differ.
var epoch = time.Unix(0, 0).UTC()

// assemble makes an image of one layer.
func assemble(layer v1.Layer, platform v1.Platform, how v1.Config) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hack/images"},
	})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
	file.Created = v1.Time{Time: epoch}
	file.Config = how
	return mutate.ConfigFile(image, file)
}

// config is how a component runs.
func config(c component, from source) v1.Config {
	return v1.Config{
		Entrypoint: []string{"/" + c.Name},
		User:       c.User,
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    c.Title,
			"org.opencontainers.image.version":  from.version,
			"org.opencontainers.image.revision": from.commit,
			"org.opencontainers.image.created":  from.date,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
}

// layerOf is a layer with the binary and the list of what it is made of, in the root directory.
func layerOf(binary, sbom string) (v1.Layer, error) {
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for _, file := range []struct {
		path string
		mode int64
	}{{binary, 0o755}, {sbom, 0o644}} {
		data, err := os.ReadFile(file.path)
		if err != nil {
			return nil, err
		}
		if err := addFile(w, filepath.Base(file.path), file.mode, data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// plain is an image whose entry in an index has no artifactType. The field is of use for what is no image. Debian 12's skopeo
// does not keep it: it writes another index into the registry, under another digest, which nothing names and nobody signed.
type plain struct{ v1.Image }

func (plain) ArtifactType() (string, error) { return "", nil }

// writeArchive writes images, one for each platform, as one OCI archive that imports as reference. It returns the digest of
// their index, by which a registry knows all of them.
func writeArchive(file, reference string, images []v1.Image) (v1.Hash, error) {
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return v1.Hash{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        plain{image},
			Descriptor: v1.Descriptor{Platform: config.Platform()},
		})
	}
	dir, err := os.MkdirTemp("", "corepin-layout-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(dir)
	store, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing %s: %w", file, err)
	}
	// Readers differ in which annotation names an image: containerd reads the first, others the second.
	names := layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          reference,
		"org.opencontainers.image.ref.name": reference,
	})
	if err := store.AppendIndex(index, names); err != nil {
		return v1.Hash{}, fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return v1.Hash{}, err
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	return digest, tarDirectory(file, dir)
}

// tarDirectory writes the files of dir into a tar archive, in the order of their names, without
// anything of this machine. The file appears whole or not at all.
func tarDirectory(file, dir string) (err error) {
	out, err := os.CreateTemp(filepath.Dir(file), ".images-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(out.Name())
		}
	}()
	w := tar.NewWriter(out)
	tree := os.DirFS(dir)
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return addFile(w, path.Clean(name), 0o644, data)
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := out.Chmod(0o644); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(out.Name(), file)
}

// addFile adds one file that belongs to root and is as old as everything else.
func addFile(w *tar.Writer, name string, mode int64, data []byte) error {
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: epoch, Format: tar.FormatPAX,
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
