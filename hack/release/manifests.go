// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"corepin.dev/corepin/manifests"
)

// manifests writes what kubectl applies, each in one file; the base for each minor of Kubernetes.
func (r *release) manifests() error {
	images, err := r.made()
	if err != nil {
		return err
	}
	base, err := manifests.Build(manifests.FS, "base")
	if err != nil {
		return err
	}
	admission, err := manifests.Build(manifests.FS, "admission")
	if err != nil {
		return err
	}
	for minor, references := range byMinor(images) {
		objects, err := withImages(base, references)
		if err != nil {
			return err
		}
		head := fmt.Appendf(nil, "# corepin %s, for Kubernetes %s\n", r.version, minor)
		if err := r.write("install-k"+minor+".yaml", append(head, objects...)); err != nil {
			return err
		}
	}
	head := fmt.Appendf(nil, "# corepin %s\n", r.version)
	return r.write("admission.yaml", append(head, admission...))
}

// withImages names images by digest. Each of them must be there, and none may keep the tag of the tree.
func withImages(objects []byte, references map[string]string) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(references)) {
		developed := []byte("image: " + name + ":dev\n")
		if !bytes.Contains(objects, developed) {
			return nil, fmt.Errorf("manifests/base does not run %s:dev", name)
		}
		objects = bytes.ReplaceAll(objects, developed, []byte("image: "+references[name]+"\n"))
	}
	for _, line := range strings.Split(string(objects), "\n") {
		image, is := strings.CutPrefix(strings.TrimSpace(line), "image: ")
		if is && !strings.Contains(image, "@sha256:") {
			return nil, fmt.Errorf("manifests/base runs %s, which this release does not make", image)
		}
	}
	return objects, nil
}
