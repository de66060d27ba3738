// SPDX-License-Identifier: Apache-2.0

package cosign

import (
	"archive/tar"
	"context"
	"crypto"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/sigstore/cosign/v3/pkg/oci/static"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// signed is what hack/verify-signatures.sh makes: a release of one image, corepin.dev/corepin-signed:v1.
func signed(t *testing.T, file string) string {
	t.Helper()
	dir := os.Getenv("COREPIN_SIGNED")
	if dir == "" {
		t.Fatal("COREPIN_SIGNED is empty; run hack/verify-signatures.sh")
	}
	return filepath.Join(dir, file)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// options are those of cosign's commands with --key=KEY --insecure-ignore-tlog.
func options(t *testing.T, key string) *cosign.CheckOpts {
	t.Helper()
	public, err := cryptoutils.UnmarshalPEMToPublicKey(read(t, signed(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return &cosign.CheckOpts{SigVerifier: verifier, IgnoreTlog: true, ClaimVerifier: cosign.SimpleClaimVerifier}
}

// unpack gives an OCI archive's layout.
func unpack(t *testing.T, archive string) layout.Path {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return layout.Path(dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dir, header.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.WriteFile(target, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// push copies the one image of an archive to a repository, as skopeo copy does, and returns the tag that the archive names.
func push(t *testing.T, archive, repository, tag string) string {
	t.Helper()
	index, err := unpack(t, archive).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%s has %d images, and skopeo would ask which", archive, len(manifest.Manifests))
	}
	descriptor := manifest.Manifests[0]
	_, named, _ := strings.Cut(descriptor.Annotations["org.opencontainers.image.ref.name"], ":")
	if tag == "" {
		tag = named
	}
	to, err := name.ParseReference(repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if descriptor.MediaType.IsIndex() {
		inner, err := index.ImageIndex(descriptor.Digest)
		if err == nil {
			err = remote.WriteIndex(to, inner)
		}
		if err != nil {
			t.Fatal(err)
		}
		return named
	}
	image, err := index.Image(descriptor.Digest)
	if err == nil {
		err = remote.Write(to, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	return named
}

// startRegistry gives a repository in a registry on loopback.
func startRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/mirror/corepin-signed"
}

func TestCosignVerifiesAnImage(t *testing.T) {
	repository := startRegistry(t)
	push(t, signed(t, "corepin-signed.tar"), repository, "v1")
	image, err := name.ParseReference(repository + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, _, err := cosign.VerifyImageSignatures(ctx, image, options(t, "public.pem")); err == nil {
		t.Error("an image without a signature is verified")
	}
	tag := push(t, signed(t, "corepin-signed.sig.tar"), repository, "")
	// cosign 3 looks for bundles first. It takes the signature beside the image where it finds none.
	if bundles, _, err := cosign.GetBundles(ctx, image, nil); len(bundles) > 0 || err == nil {
		t.Errorf("there are %d bundles (err %v), want none", len(bundles), err)
	}
	found, _, err := cosign.VerifyImageSignatures(ctx, image, options(t, "public.pem"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d signatures are verified (err %v), want 1", len(found), err)
	}
	text, err := found[0].Payload()
	if err != nil || !strings.Contains(string(text), `"docker-reference":"corepin.dev/corepin-signed"`) {
		t.Errorf("what is signed is %s (err %v)", text, err)
	}
	t.Logf("verified %s", text)
	if _, _, err := cosign.VerifyImageSignatures(ctx, image, options(t, "other.pem")); err == nil {
		t.Error("the signature is verified with another key")
	}
	other, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(image, other); err != nil {
		t.Fatal(err)
	}
	digest, err := other.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push(t, signed(t, "corepin-signed.sig.tar"), repository, strings.Replace(digest.String(), ":", "-", 1)+".sig")
	if _, _, err := cosign.VerifyImageSignatures(ctx, image, options(t, "public.pem")); err == nil {
		t.Errorf("the signature under %s is verified for another image", tag)
	}
}

func TestCosignVerifiesTheChecksums(t *testing.T) {
	sums := read(t, signed(t, "SHA256SUMS"))
	signature := string(read(t, signed(t, "SHA256SUMS.sig")))
	for name, test := range map[string]struct {
		text []byte
		key  string
		want bool
	}{
		"as signed":   {sums, "public.pem", true},
		"another key": {sums, "other.pem", false},
		"other sums":  {append([]byte("0"), sums...), "public.pem", false},
	} {
		blob, err := static.NewSignature(test.text, signature)
		if err != nil {
			t.Fatal(err)
		}
		opts := options(t, test.key)
		opts.ClaimVerifier = nil // a file has no claims
		if _, err := cosign.VerifyBlobSignature(context.Background(), blob, opts); (err == nil) != test.want {
			t.Errorf("%s: verified is %t, want %t (err %v)", name, err == nil, test.want, err)
		}
	}
	for _, file := range []string{"images.txt", "corepin-signed.tar", "corepin-signed.sig.tar"} {
		if !strings.Contains(string(sums), "  "+file+"\n") {
			t.Errorf("the checksums lack %s:\n%s", file, sums)
		}
	}
}
