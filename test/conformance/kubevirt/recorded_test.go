// SPDX-License-Identifier: Apache-2.0

// Package kubevirt holds corepin's reading of virtual machines against what KubeVirt itself did.
//
// KubeVirt's modules cannot be imported, so its behaviour was recorded: the verdicts of its webhooks, the
// launcher pods of its controller and the placements of its launcher. The recordings lie outside this
// repository, in the folder that COREPIN_KUBEVIRT_TESTDATA names; without it these tests are skipped and
// say so.
//
// We do not want to agree everywhere. Where we do not, the case stands by its id in the table
// disagreements with the reason; a case that disagrees without being listed fails, and so does one that
// is listed and agrees.
//
// The policy in manifests/admission is held here against pkg/vmi, over the same recordings and cases of
// our own.
package kubevirt

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const testdataEnv = "COREPIN_KUBEVIRT_TESTDATA"

// testdata is the path of a recording; the test is skipped where there are none.
func testdata(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv(testdataEnv)
	named := folder != ""
	if !named {
		folder = filepath.Join("..", "..", "..", "..", "shared", "testdata", "kubevirt")
	}
	path := filepath.Join(folder, name)
	if _, err := os.Stat(path); err != nil {
		if named {
			t.Fatalf("%s names a folder without %s: %v", testdataEnv, name, err)
		}
		t.Skipf("KubeVirt's recorded behaviour is not here; set %s to its folder to run this test", testdataEnv)
	}
	return path
}

// lines decodes a file of one JSON object a line.
func lines[T any](t *testing.T, name string) []T {
	t.Helper()
	data, err := os.ReadFile(testdata(t, name))
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, len(data)+1)
	for scanner.Scan() {
		var record T
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, record)
	}
	if len(out) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return out
}

// tally counts by group how many cases agree, and fails for every surprise.
type tally struct {
	t             *testing.T
	listed        map[string]string // id to the reason for the disagreement
	seen          map[string]bool
	total, agreed map[string]int
}

func newTally(t *testing.T, listed map[string]string) *tally {
	return &tally{t: t, listed: listed, seen: map[string]bool{}, total: map[string]int{}, agreed: map[string]int{}}
}

// count takes the outcome of one case; disagreement is empty where it agrees.
func (y *tally) count(group, id, disagreement string) {
	y.t.Helper()
	y.seen[id] = true
	y.total[group]++
	reason, listed := y.listed[id]
	switch {
	case disagreement == "" && listed:
		y.t.Errorf("%s agrees now; take it out of the table (%s)", id, reason)
	case disagreement != "" && !listed:
		y.t.Errorf("%s disagrees: %s", id, disagreement)
	}
	if disagreement == "" {
		y.agreed[group]++
	}
}

// report prints the counts. The recordings are a sample, so that a listed id may be missing from them.
func (y *tally) report() {
	y.t.Helper()
	groups := make([]string, 0, len(y.total))
	for group := range y.total {
		groups = append(groups, group)
	}
	slices.Sort(groups)
	all, agreed := 0, 0
	for _, group := range groups {
		y.t.Logf("%-32s %3d of %3d agree", group, y.agreed[group], y.total[group])
		all, agreed = all+y.total[group], agreed+y.agreed[group]
	}
	y.t.Logf("%-32s %3d of %3d agree", "together", agreed, all)
	for id, reason := range y.listed {
		if !y.seen[id] {
			y.t.Logf("%s is listed and not among these recordings (%s)", id, reason)
		}
	}
}
