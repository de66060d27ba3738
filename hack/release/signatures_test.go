// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

const agentDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// keyFile is a new key as openssl genpkey writes it.
func keyFile(t *testing.T) (string, *ecdsa.PublicKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name, &key.PublicKey
}

// That cosign takes them, hack/verify-signatures.sh tests.
func TestImagesAreSigned(t *testing.T) {
	r := tested(t)
	key, public := keyFile(t)
	if err := r.write("images.txt", []byte("corepin.dev/corepin-agent:v1@"+agentDigest+"\n")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again gives no checksum of what was signed before
		if err := signAgain(r.out, key); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(read(t, r.out, sumsFile)); strings.Count(got, "\n") != 2 || !strings.Contains(got, "  corepin-agent.sig.tar\n") || !strings.Contains(got, "  images.txt\n") {
		t.Errorf("the checksums are\n%s", got)
	}
	text, signature, tag := signatureIn(t, read(t, r.out, "corepin-agent.sig.tar"))
	if want := "corepin.dev/corepin-agent:" + strings.Replace(agentDigest, ":", "-", 1) + ".sig"; tag != want {
		t.Errorf("the archive's name is %s, want %s", tag, want)
	}
	digest := sha256.Sum256(text)
	if !ecdsa.VerifyASN1(public, digest[:], signature) {
		t.Error("the signature is not that of the layer")
	}
	var c claim
	if err := json.Unmarshal(text, &c); err != nil || c.Critical.Image.Digest != agentDigest || c.Critical.Identity.Reference != "corepin.dev/corepin-agent" || c.Critical.Type != signatureType {
		t.Errorf("what is signed is %s (err %v)", text, err)
	}
}

// signatureIn reads the archive of a signature: what is signed, the signature, and the archive's name.
func signatureIn(t *testing.T, archive []byte) (text, signature []byte, tag string) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range untarred(t, bytes.NewReader(archive)) {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	images, err := index.IndexManifest()
	if err != nil || len(images.Manifests) != 1 {
		t.Fatalf("the archive has %v (err %v), want one image", images, err)
	}
	image, err := index.Image(images.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil || len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != signatureLayer {
		t.Fatalf("the signature's manifest is %v (err %v)", manifest, err)
	}
	signature, err = base64.StdEncoding.DecodeString(manifest.Layers[0].Annotations[signatureAnnotation])
	if err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(filepath.Join(dir, "blobs/sha256", manifest.Layers[0].Digest.Hex))
	if err != nil {
		t.Fatal(err)
	}
	return text, signature, images.Manifests[0].Annotations["org.opencontainers.image.ref.name"]
}

func TestNothingIsSigned(t *testing.T) {
	r := tested(t)
	key, _ := keyFile(t)
	if err := r.finish(key); err == nil || !strings.Contains(err.Error(), "images.txt") {
		t.Errorf("without images.txt the error is %v", err)
	}
	if err := r.write("images.txt", []byte("corepin.dev/corepin-agent:v1@"+agentDigest+"\n")); err != nil {
		t.Fatal(err)
	}
	if err := signAgain(r.out, ""); err == nil || !strings.Contains(err.Error(), "-key") {
		t.Errorf("without a key the error is %v", err)
	}
	if err := r.finish(""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"corepin-agent.sig.tar", sumsSignFile} {
		if _, err := os.Stat(filepath.Join(r.out, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there without a key (err %v)", name, err)
		}
	}
}
