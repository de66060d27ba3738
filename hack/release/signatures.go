// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What cosign looks for beside an image: specs/SIGNATURE_SPEC.md of github.com/sigstore/cosign v3.1.3.
const (
	signatureLayer      = types.MediaType("application/vnd.dev.cosign.simplesigning.v1+json")
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	signatureType       = "cosign container image signature"
)

// claim is what is signed of an image: its name and its digest, as containers-signature(5) has it.
type claim struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]string `json:"optional"`
}

// signAgain signs a release that is there.
func signAgain(out, keyFile string) error {
	if keyFile == "" {
		return fmt.Errorf("no key; name its file with -key")
	}
	return (&release{out: out}).finish(keyFile)
}

// finish signs the images where keyFile is not "", and then writes the checksums of everything.
func (r *release) finish(keyFile string) error {
	if keyFile != "" {
		if err := r.signImages(keyFile); err != nil {
			return fmt.Errorf("signing the images with the key in %s: %w", keyFile, err)
		}
	}
	return sums(r.out, keyFile)
}

// signImages writes a signature of each image as an archive of its own. The image's archive stays as it is: it has the same
// bytes whoever builds it, and one image only, so that skopeo and containerd need not be told which.
func (r *release) signImages(keyFile string) error {
	images, err := r.made()
	if err != nil {
		return err
	}
	for _, i := range images {
		_, digest, _ := strings.Cut(i.reference, "@")
		image, err := signatureOf(i.name, digest, keyFile)
		if err != nil {
			return err
		}
		// The tag under which cosign looks for the signatures of an image with this digest.
		tag := strings.Replace(digest, ":", "-", 1) + ".sig"
		archive, err := ociArchive(i.name+":"+tag, image)
		if err != nil {
			return err
		}
		if err := r.write(i.file()+".sig.tar", archive); err != nil {
			return err
		}
	}
	return nil
}

// signatureOf signs an image as `cosign sign --key` does. The signature is an image itself, of one layer.
func signatureOf(name, digest, keyFile string) (v1.Image, error) {
	var c claim
	c.Critical.Identity.Reference = name
	c.Critical.Image.Digest = digest
	c.Critical.Type = signatureType
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	signature, err := sign(text, keyFile)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	return mutate.Append(base, mutate.Addendum{
		Layer:       static.NewLayer(text, signatureLayer),
		Annotations: map[string]string{signatureAnnotation: string(signature)},
	})
}

// ociArchive is an OCI archive of one image, with its name.
func ociArchive(name string, image v1.Image) ([]byte, error) {
	dir, err := os.MkdirTemp("", "corepin-signature-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	store, err := layout.Write(dir, empty.Index)
	if err != nil {
		return nil, err
	}
	if err := store.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name})); err != nil {
		return nil, err
	}
	var files []file
	tree := os.DirFS(dir)
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		files = append(files, file{name, 0o644, data})
		return err
	})
	if err != nil {
		return nil, err
	}
	return tarred(files)
}
