// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/test/harness/bounds"
)

const header = "apiVersion: scheduler.corepin.dev/v1alpha1\nkind: DedicatedCPUArgs\n"

func TestDecode(t *testing.T) {
	typeMeta := metav1.TypeMeta{APIVersion: APIVersion, Kind: Kind}
	usual := metav1.Duration{Duration: 15 * time.Second}
	defaults := DedicatedCPUArgs{TypeMeta: typeMeta, ScoringStrategy: LeastFragmentation, ScoreRange: 5, NodesWithoutExactReport: Estimate, CPUManagerNodes: Required, SilentAfter: usual, RestartSafety: RestartIgnore, OtherPods: Predict, Search: AllNodes}
	for name, test := range map[string]struct {
		text    string
		want    DedicatedCPUArgs
		wantErr string
	}{
		"nothing gives the defaults":     {text: "", want: defaults},
		"only a header too":              {text: header, want: defaults},
		"every field":                    {text: header + "scoringStrategy: MostFree\nscoreRange: 40\nnodesWithoutExactReport: Refuse\ncpuManagerNodes: Preferred\nstrictness: KubeVirt\nsilentAfter: 1m30s\notherPods: Ignore\nsearch: Sample\nnodePoolLabel: example.com/pool\n", want: DedicatedCPUArgs{TypeMeta: typeMeta, ScoringStrategy: MostFree, ScoreRange: 40, NodesWithoutExactReport: Refuse, CPUManagerNodes: Preferred, Strictness: vmi.KubeVirt, SilentAfter: metav1.Duration{Duration: 90 * time.Second}, RestartSafety: RestartIgnore, OtherPods: Ignore, Search: Sample, NodePoolLabel: "example.com/pool"}},
		"as JSON":                        {text: `{"apiVersion":"scheduler.corepin.dev/v1alpha1","kind":"DedicatedCPUArgs","scoringStrategy":"MostFree"}`, want: DedicatedCPUArgs{TypeMeta: typeMeta, ScoringStrategy: MostFree, ScoreRange: 5, NodesWithoutExactReport: Estimate, CPUManagerNodes: Required, SilentAfter: usual, RestartSafety: RestartIgnore, OtherPods: Predict, Search: AllNodes}},
		"an unknown field":               {text: header + "scoreStrategy: MostFree\n", wantErr: `unknown field "scoreStrategy"`},
		"a field in the wrong case":      {text: header + "ScoringStrategy: MostFree\n", wantErr: `unknown field "ScoringStrategy"`},
		"a field twice":                  {text: header + "scoringStrategy: MostFree\nscoringStrategy: MostFree\n", wantErr: "already"},
		"no header":                      {text: "scoringStrategy: MostFree\n", wantErr: "knows apiVersion scheduler.corepin.dev/v1alpha1"},
		"another kind":                   {text: "apiVersion: scheduler.corepin.dev/v1alpha1\nkind: Other\n", wantErr: `kind "Other"`},
		"another version":                {text: "apiVersion: scheduler.corepin.dev/v2\nkind: DedicatedCPUArgs\n", wantErr: `apiVersion "scheduler.corepin.dev/v2"`},
		"an unknown strategy":            {text: header + "scoringStrategy: Random\n", wantErr: `scoringStrategy: Unsupported value: "Random"`},
		"a range too large":              {text: header + "scoreRange: 41\n", wantErr: "scoreRange: Invalid value: 41: must be between 1 and 40"},
		"a negative range":               {text: header + "scoreRange: -1\n", wantErr: "scoreRange: Invalid value: -1: must be between 1 and 40"},
		"silent too soon":                {text: header + "silentAfter: 999ms\n", wantErr: "silentAfter: Invalid value: \"999ms\": must be between 1s and 10m0s"},
		"silent too late":                {text: header + "silentAfter: 601s\n", wantErr: "silentAfter: Invalid value: \"10m1s\": must be between 1s and 10m0s"},
		"a label that is none":           {text: header + "nodePoolLabel: a/b/c\n", wantErr: "nodePoolLabel: Invalid value: \"a/b/c\": a valid label key must"},
		"an unknown policy":              {text: header + "nodesWithoutExactReport: Hope\n", wantErr: `nodesWithoutExactReport: Unsupported value: "Hope"`},
		"an unknown label policy":        {text: header + "cpuManagerNodes: Sometimes\n", wantErr: `cpuManagerNodes: Unsupported value: "Sometimes"`},
		"an unknown strictness":          {text: header + "strictness: Lax\n", wantErr: `"Lax" is not a strictness`},
		"an unknown restart safety":      {text: header + "restartSafety: Maybe\n", wantErr: `restartSafety: Unsupported value: "Maybe"`},
		"other pods":                     {text: header + "otherPods: Some\n", wantErr: `otherPods: Unsupported value: "Some"`},
		"a value of the wrong type":      {text: header + "scoringStrategy: [a]\n", wantErr: "cannot unmarshal"},
		"text that is neither":           {text: "{", wantErr: "yaml"},
		"a list where an object belongs": {text: "- a\n", wantErr: "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode([]byte(test.text))
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if *got != test.want {
				t.Errorf("got %+v, want %+v", *got, test.want)
			}
		})
	}
}

func TestLoadTakesWhatTheSchedulerHandsOver(t *testing.T) {
	if _, err := Load(nil); err != nil {
		t.Errorf("no args: %v", err)
	}
	args, err := Load(&runtime.Unknown{Raw: []byte(header + "scoringStrategy: MostFree\n")})
	if err != nil || args.ScoringStrategy != MostFree {
		t.Errorf("text: %+v, %v", args, err)
	}
	if _, err := Load(&metav1.Status{}); err == nil {
		t.Error("an object of another type was taken as args")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(header))
	f.Add([]byte(header + "scoringStrategy: MostFree\n"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var args *DedicatedCPUArgs
		var err error
		bounds.Within(t, bounds.Parser, string(data), func() { args, err = Decode(data) })
		if (args == nil) == (err == nil) {
			t.Fatalf("Decode gave %v and error %v", args, err)
		}
		if err == nil && len(Validate(args)) > 0 {
			t.Fatalf("Decode gave invalid args: %+v", args)
		}
	})
}
