// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The counts before a plan are those of capacity.
func TestGoalsAreCountedAsCapacity(t *testing.T) {
	for _, file := range []string{"rebalance.yaml", "cluster.yaml", "two-numa.yaml"} {
		input, err := os.ReadFile("testdata/input/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, shape := range []string{"cpus=1", "cpus=2", "cpus=3", "cpus=8", "cpus=4,memory=20Gi"} {
			_, out, errs := run(t, string(input), "capacity", "--shape", shape, "-f", "-", "-o", "json")
			var counted capacity
			if err := json.Unmarshal([]byte(out), &counted); err != nil {
				t.Fatalf("%v: %s%s", err, out, errs)
			}
			_, out, errs = run(t, string(input), "rebalance", "--goal", shape, "-f", "-", "-o", "json")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			var answer rebalanceLine
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &answer); err != nil || answer.Before == nil {
				t.Fatalf("%v: %s%s", err, out, errs)
			}
			if *answer.Before != counted.Fit {
				t.Errorf("%s, %s: rebalance counts %d, and capacity %d", file, shape, *answer.Before, counted.Fit)
			}
		}
	}
}

// Each line of a step has an object that can be created as it is.
func TestMigrationsCanBeCreated(t *testing.T) {
	out := session(t, "rebalance", "vm", "four", "-n", "vms", "-f", "rebalance.yaml", "-o", "json")
	first, _, _ := strings.Cut(out, "\n")
	var step struct{ Migration json.RawMessage }
	if err := json.Unmarshal([]byte(first), &step); err != nil {
		t.Fatalf("%v: %s", err, first)
	}
	const want = `{"kind":"VirtualMachineInstanceMigration","apiVersion":"kubevirt.io/v1","metadata":{"generateName":"corepin-rebalance-","namespace":"vms"},` +
		`"spec":{"vmiName":"b","addedNodeSelector":{"kubernetes.io/hostname":"n2.rack"}}}`
	if string(step.Migration) != want {
		t.Errorf("got  %s\nwant %s", step.Migration, want)
	}
}
