// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

const chartDir = "../../../manifests/chart"

// object is one decoded object of a stream.
type object = map[string]any

// objects are the objects of a stream of YAML, by kind, namespace and name. Hooks are not among them.
func objects(t *testing.T, stream string) map[string]object {
	t.Helper()
	all := map[string]object{}
	for _, document := range regexp.MustCompile(`(?m)^---\s*$`).Split(stream, -1) {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatalf("%v, in\n%s", err, document)
		}
		if o == nil {
			continue
		}
		metadata := o["metadata"].(object)
		if annotations, ok := metadata["annotations"].(object); ok && annotations["helm.sh/hook"] != nil {
			continue
		}
		key := fmt.Sprintf("%s %v/%v", o["kind"], metadata["namespace"], metadata["name"])
		if all[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		all[key] = o
	}
	return all
}

// chartObjects renders the chart's objects with values.
func chartObjects(t *testing.T, namespace, values string) map[string]object {
	t.Helper()
	parsed, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	files, err := render(chartDir, namespace, parsed)
	if err != nil {
		t.Fatal(err)
	}
	stream := ""
	for name, text := range files {
		if !strings.HasSuffix(name, "NOTES.txt") {
			stream += "---\n" + text + "\n"
		}
	}
	return objects(t, stream)
}

// hash is what kustomize appends to the names of the ConfigMaps of configuration files. The chart has an annotation
// instead.
var hash = regexp.MustCompile(`(corepin-(?:agent|scheduler)-config)-[a-z0-9]{10}`)

// read gives a file that hack/verify-chart.sh has written: what kustomize builds.
func read(t *testing.T, variable string) string {
	t.Helper()
	text, err := os.ReadFile(os.Getenv(variable))
	if err != nil {
		t.Fatalf("%v; run this by hack/verify-chart.sh", err)
	}
	return hash.ReplaceAllString(string(text), "$1")
}

// compare fails for what only one of two has, and for what differs.
func compare(t *testing.T, got, want map[string]object) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] == nil {
			t.Errorf("the chart has no %s", key)
			continue
		}
		if template, ok := dig(got[key], "spec", "template", "metadata").(object); ok {
			delete(template["annotations"].(object), "checksum/config")
			if len(template["annotations"].(object)) == 0 {
				delete(template, "annotations")
			}
		}
		if !reflect.DeepEqual(got[key], want[key]) {
			a, _ := yaml.Marshal(got[key])
			b, _ := yaml.Marshal(want[key])
			t.Errorf("%s differs; the chart has\n%s\nand kustomize\n%s", key, a, b)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if want[key] == nil {
			t.Errorf("only the chart has %s", key)
		}
	}
}

// dig gives the field at a path; nil where there is none.
func dig(value any, steps ...any) any {
	for _, step := range steps {
		switch at := step.(type) {
		case string:
			o, _ := value.(object)
			value = o[at]
		case int:
			list, _ := value.([]any)
			if at >= len(list) {
				return nil
			}
			value = list[at]
		}
	}
	return value
}

func TestDefaultsAreTheBase(t *testing.T) {
	want := objects(t, read(t, "COREPIN_BASE"))
	delete(want, "Namespace <nil>/corepin-system") // helm makes the release's namespace itself
	compare(t, chartObjects(t, "corepin-system", ""), want)
}

func TestMonitoringIsThatOfTheManifests(t *testing.T) {
	base := objects(t, read(t, "COREPIN_BASE"))
	delete(base, "Namespace <nil>/corepin-system")
	want := objects(t, read(t, "COREPIN_MONITORING"))
	maps.Copy(want, base)
	compare(t, chartObjects(t, "corepin-system", "monitoring: {enabled: true}"), want)
}

func TestSingleProcessIsTheOverlay(t *testing.T) {
	want := objects(t, read(t, "COREPIN_SINGLE_PROCESS"))
	delete(want, "Namespace <nil>/corepin-system")
	compare(t, chartObjects(t, "corepin-system", "scheduler: {singleProcess: true}"), want)
}

func TestLinterFindsNothing(t *testing.T) {
	found := lint.All(chartDir, nil, "corepin-system", true)
	for _, m := range found.Messages {
		if m.Severity >= support.WarningSev {
			t.Error(m)
		}
	}
	if len(found.Messages) == 0 {
		t.Error("the linter did not even say that an icon is recommended; does it look at the chart?")
	}
}
