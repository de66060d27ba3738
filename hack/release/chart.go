// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

const chartDir = "manifests/chart"

// chart writes the Helm chart as a repository has it, with the version of the release.
func (r *release) chart() error {
	images, err := r.made()
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(r.version, "v")
	files, err := chartFiles(os.DirFS(chartDir), version, images)
	if err != nil {
		return err
	}
	data, err := tarGz(files)
	if err != nil {
		return err
	}
	return r.write("corepin-"+version+".tgz", data)
}

// chartFiles are a chart's files below its name, which is where helm looks for them. Its metadata get a version, and
// the tag and the digests of the images.
func chartFiles(tree fs.FS, version string, images []image) ([]file, error) {
	var files []file
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if name == "Chart.yaml" {
			data, err = withVersion(data, version, images)
		}
		files = append(files, file{name: path.Join("corepin", name), mode: 0o644, data: data})
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s is empty", chartDir)
	}
	return files, err
}

func withVersion(metadata []byte, version string, images []image) ([]byte, error) {
	chart := map[string]any{}
	if err := yaml.UnmarshalStrict(metadata, &chart); err != nil {
		return nil, fmt.Errorf("reading Chart.yaml: %w", err)
	}
	chart["version"] = version
	digests := map[string]string{}
	for _, i := range images {
		tag, digest, ok := strings.Cut(strings.TrimPrefix(i.reference, i.name+":"), "@")
		_, component, named := strings.Cut(i.file(), "-")
		if !ok || !named {
			return nil, fmt.Errorf("%s is no image corepin-COMPONENT:TAG@DIGEST", i.reference)
		}
		if i.minor != "" {
			tag = strings.TrimSuffix(tag, "-k"+i.minor)
		}
		chart["appVersion"] = tag
		digests["corepin.dev/"+component+"-digest"] = digest
	}
	chart["annotations"] = digests
	return yaml.Marshal(chart)
}
