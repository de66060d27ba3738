// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"maps"
	"path"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// render gives what a chart renders to, by template: objects, NOTES.txt included. Values that the chart's schema refuses
// are an error.
func render(dir, namespace string, values chartutil.Values) (map[string]string, error) {
	c, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	return renderChart(c, namespace, values)
}

// renderChart is render for a chart that was read.
func renderChart(c *chart.Chart, namespace string, values chartutil.Values) (map[string]string, error) {
	return renderFor(c, namespace, values, chartutil.DefaultCapabilities.Copy())
}

// renderFor is renderChart for an API server.
func renderFor(c *chart.Chart, namespace string, values chartutil.Values, server *chartutil.Capabilities) (map[string]string, error) {
	release := chartutil.ReleaseOptions{Name: "corepin", Namespace: namespace, IsInstall: true, Revision: 1}
	all, err := chartutil.ToRenderValues(c, values, release, server)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(files, func(name, text string) bool {
		return strings.HasPrefix(path.Base(name), "_") || strings.TrimSpace(text) == ""
	})
	return files, nil
}
