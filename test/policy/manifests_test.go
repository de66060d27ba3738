// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"corepin.dev/corepin/manifests"
)

// kustomizations are the folders that users can apply with -k.
func kustomizations(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := fs.WalkDir(manifests.FS, ".", func(name string, _ fs.DirEntry, err error) error {
		if path.Base(name) == "kustomization.yaml" {
			dirs = append(dirs, path.Dir(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// build renders one kustomization into objects.
func build(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	stream, err := manifests.Build(manifests.FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(stream)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	return objects
}

// decode reads a stream of documents strictly: a kind or a field that its API does not have is an error.
func decode(stream []byte) ([]runtime.Object, error) {
	kinds := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(kinds), apiextensionsv1.AddToScheme(kinds), addOperatorTypes(kinds), addOpenShiftTypes(kinds)); err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(kinds, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(stream)))
	var objects []runtime.Object
	for buffer := make([]byte, 4<<20); ; {
		n, err := documents.Read(buffer)
		if err == io.EOF {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object, _, err := decoder.Decode(buffer[:n], nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%w, in document:\n%s", err, buffer[:n])
		}
		objects = append(objects, object)
	}
}

func TestManifestsBuildAndDecodeStrictly(t *testing.T) {
	dirs := kustomizations(t)
	for _, needed := range []string{"base", "overlays/example"} {
		if !slices.Contains(dirs, needed) {
			t.Errorf("manifests/%s has no kustomization.yaml; the README tells users to apply it", needed)
		}
	}
	for _, dir := range dirs {
		if len(build(t, dir)) == 0 {
			t.Errorf("manifests/%s: nothing in it", dir)
		}
	}
}

func TestDecodeRefusesWhatItsAPIDoesNotHave(t *testing.T) {
	for name, document := range map[string]string{
		"field": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nspecs: {}\n",
		"kind":  "apiVersion: v1\nkind: Nodespace\nmetadata: {name: a}\n",
	} {
		if _, err := decode([]byte(document)); err == nil {
			t.Errorf("a document with an unknown %s was decoded", name)
		}
	}
}
