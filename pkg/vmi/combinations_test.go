// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("the manifests of an installed KubeVirt are not here; set %s to their folder to run this test", installedEnv)
	}
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
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

// refusedFile has the combinations that KubeVirt refused, an instancetype and a preference a line: its webhook was asked about a
// VirtualMachine of each (make test-kubevirt, with COREPIN_RECORD_COMBINATIONS naming this file).
const refusedFile = "testdata/refused-combinations.txt"

// refusedByKubeVirt is the table in refusedFile.
func refusedByKubeVirt(t *testing.T) map[string]bool {
	t.Helper()
	data, err := os.ReadFile(refusedFile)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		refused[line] = true
	}
	return refused
}

// Every dedicated instancetype that KubeVirt installs, with every preference and with none: KubeVirt refuses those whose
// preference asks for more than the instancetype has, or for an architecture that the VM does not have. Each verdict is held
// against KubeVirt's own.
func TestCombinations(t *testing.T) {
	instancetypes := installed(t, "60-instancetypes.yaml", InstancetypeOf)
	preferences := append([]*Preference{nil}, installed(t, "61-preferences.yaml", PreferenceOf)...)
	refused := refusedByKubeVirt(t)
	combinations := 0
	agree := 0
	odd := map[string]bool{}
	byRule := map[string]int{}
	for _, it := range instancetypes {
		if !it.CPU.DedicatedCPUPlacement {
			continue
		}
		for _, p := range preferences {
			combinations++
			v := &VMI{Kind: KindVM, Instancetype: &it.Reference}
			name := it.Name
			if p != nil {
				v.Preference = &p.Reference
				name += " " + p.Name
			}
			whole, findings := Expand(v, it, p)
			findings = append(findings, Judge(whole, KubeVirt)...)
			errors := Errors(findings)
			if len(errors) > 0 {
				byRule[errors[0].Rule]++
			}
			if (len(errors) > 0) != refused[name] {
				t.Errorf("%s: refused by KubeVirt is %v; here %v", name, refused[name], errors)
				continue
			}
			agree++
			if slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == "cpus-odd" }) {
				odd[it.Name] = true
			}
		}
	}
	t.Logf("%d combinations, %d verdicts agree, %d refused: %s; %d instancetypes ask for an odd number of CPUs", combinations, agree, len(refused), fmt.Sprint(byRule), len(odd))
	if combinations != 1980 || len(refused) != 199 || len(odd) != 27 {
		t.Errorf("%d combinations, %d refused, %d odd; want 1980, 199 and 27", combinations, len(refused), len(odd))
	}
}
