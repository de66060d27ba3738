package vmi

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// installedEnv names the folder with the manifests of a finished KubeVirt installation.
const installedEnv = "COREPIN_KUBEVIRT_MANIFESTS"

// installed are the objects of one of KubeVirt's manifests. The test is skipped where these are not.
func installed[T any](t *testing.T, name string, of func(map[string]any) (T, error)) []T {
	t.Helper()
	folder := os.Getenv(installedEnv)
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "shared", "kubevirt", "manifests")
	}
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Skipf("the manifests of an installed KubeVirt are not here; set %s to their folder to run this test", installedEnv)
	}
	var out []T
	for _, document := range bytes.Split(data, []byte("\n---\n")) {
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			t.Fatal(err)
		}
		if object == nil {
			continue
		}
		read, err := of(object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, read)
	}
	return out
}

// Every dedicated instancetype that KubeVirt installs, with every preference and with none: KubeVirt refuses those whose
// preference asks for more than the instancetype has, or for an architecture that the VM does not have.
func TestCombinations(t *testing.T) {
	instancetypes := installed(t, "60-instancetypes.yaml", InstancetypeOf)
	preferences := append([]*Preference{nil}, installed(t, "61-preferences.yaml", PreferenceOf)...)
	combinations := 0
	refused := 0
	odd := map[string]bool{}
	byRule := map[string]int{}
	for _, it := range instancetypes {
		if !it.CPU.DedicatedCPUPlacement {
			continue
		}
		for _, p := range preferences {
			combinations++
			v := &VMI{Kind: KindVM, Instancetype: &it.Reference}
			if p != nil {
				v.Preference = &p.Reference
			}
			whole, findings := Expand(v, it, p)
			findings = append(findings, Judge(whole, KubeVirt)...)
			if errors := Errors(findings); len(errors) > 0 {
				refused++
				byRule[errors[0].Rule]++
			}
			if slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == "cpus-odd" }) {
				odd[it.Name] = true
			}
		}
	}
	t.Logf("%d combinations, %d refused: %s; %d instancetypes ask for an odd number of CPUs", combinations, refused, fmt.Sprint(byRule), len(odd))
	if combinations != 1980 || refused != 199 || len(odd) != 27 {
		t.Errorf("%d combinations, %d refused, %d odd; want 1980, 199 and 27", combinations, refused, len(odd))
	}
}
