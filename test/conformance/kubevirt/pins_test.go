// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/cli"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/nodereport"
	"corepin.dev/corepin/pkg/placement"
)

// TestPinsCommand asks kubectl-corepin pins about every recorded guest, and wants the answer of pkg/placement.
func TestPinsCommand(t *testing.T) {
	for _, record := range lines[pinning](t, "pinning.jsonl") {
		host, granted := record.host(t), cpuset.Of(record.CPUSet...)
		report := v1alpha1.NodeCPU{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.Kind}, ObjectMeta: metav1.ObjectMeta{Name: "node"}}
		nodereport.SetTopology(&report.Status, host)
		node, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		files := fstest.MapFS{"node.json": {Data: node}, "vmi.json": {Data: record.annotated(t)}}
		code := cli.Run(t.Context(), cli.Host{Out: &out, Err: &errs, Open: func(name string) (fs.File, error) { return files.Open(name) }},
			[]string{"pins", "-f", "node.json", "-f", "vmi.json", "--cpus", granted.String(), "-o", "json"})
		var answer struct {
			VCPUs     []struct{ CPUs string }
			Emulator  string
			IOThreads []struct {
				ID   int
				CPUs string
			}
			Error string
		}
		if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
			t.Errorf("%s: exit %d, %q, %q: %v", record.ID, code, out.String(), errs.String(), err)
			continue
		}
		var want placement.Pins
		guest, err := record.guest(t)
		if err == nil {
			want, err = placement.Place(guest, granted, host)
		}
		if (err != nil) != (answer.Error != "") || (code != 0) != (err != nil) {
			t.Errorf("%s: exit %d, error %q; want %v", record.ID, code, answer.Error, err)
		}
		var got []string
		for i, pin := range answer.VCPUs {
			got = append(got, fmt.Sprintf("%d=%s", i, pin.CPUs))
		}
		if answer.Emulator != "" {
			got = append(got, "emulator="+answer.Emulator)
		}
		for _, pin := range answer.IOThreads {
			got = append(got, fmt.Sprintf("io%d=%s", pin.ID, pin.CPUs))
		}
		ids := make([]int, len(want.VCPUs))
		for i := range ids {
			ids[i] = i
		}
		if text := strings.Join(got, " "); text != want.Text(ids) {
			t.Errorf("%s: %s; want %s", record.ID, text, want.Text(ids))
		}
	}
}

// annotated is the VMI with the annotations that the launcher saw.
func (r pinning) annotated(t *testing.T) []byte {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(r.VMI, &object); err != nil {
		t.Fatal(err)
	}
	metadata, _ := object["metadata"].(map[string]any)
	metadata["annotations"] = r.LauncherAnnotations
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
