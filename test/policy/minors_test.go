// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A scheduler may be older than the API server by one minor, and never newer. So a cluster older than the oldest scheduler is not
// supported, and Helm has to say so before it installs anything.
func TestTheChartWantsTheMinorOfTheOldestScheduler(t *testing.T) { obey(t, chartMinor(tree(t))) }

var (
	moduleMinor = regexp.MustCompile(`(?m)^\s*(?:require )?k8s\.io/kubernetes v1\.(\d+)\.`)
	wantedMinor = regexp.MustCompile(`(?m)^kubeVersion: ">=1\.(\d+)\.0-0"$`)
)

func chartMinor(files []*file) []string {
	oldest, wanted := 0, 0
	for _, f := range files {
		switch {
		case f.path == "go.mod" || f.dir() == "hack/minors" && path.Ext(f.path) == ".mod":
			minor := minorIn(moduleMinor, f)
			if oldest == 0 || minor < oldest {
				oldest = minor
			}
		case f.path == "manifests/chart/Chart.yaml":
			wanted = minorIn(wantedMinor, f)
		}
	}
	if oldest == 0 || oldest != wanted {
		return []string{fmt.Sprintf("manifests/chart/Chart.yaml: kubeVersion is of 1.%d, and the oldest scheduler (go.mod, hack/minors) is of 1.%d", wanted, oldest)}
	}
	return nil
}

// minorIn is the minor that a file has; 0 if it has none.
func minorIn(pattern *regexp.Regexp, f *file) int {
	found := pattern.FindStringSubmatch(f.text)
	if found == nil {
		return 0
	}
	minor, _ := strconv.Atoi(found[1]) // digits
	return minor
}

func TestChartMinorCanFail(t *testing.T) {
	files := func(minors ...string) []*file {
		all := []*file{newFile("manifests/chart/Chart.yaml", "kubeVersion: \">=1.35.0-0\"\n"), newFile("go.mod", "\tk8s.io/kubernetes v1.36.3\n")}
		for _, minor := range minors {
			all = append(all, newFile("hack/minors/"+minor+".mod", "\tk8s.io/kubernetes v"+minor+".4\n"))
		}
		return all
	}
	for minors, want := range map[string]int{"1.35 1.37": 0, "1.37": 1, "1.34 1.35 1.37": 1} {
		if got := chartMinor(files(strings.Fields(minors)...)); len(got) != want {
			t.Errorf("schedulers of %s and 1.36: %d violations %q, want %d", minors, len(got), got, want)
		}
	}
}
