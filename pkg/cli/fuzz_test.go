// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"runtime"
	"testing"
	"time"
)

// FuzzCommands: whatever comes, each command ends with an answer or an error, in bounded time and memory, and what it
// writes is harmless.
func FuzzCommands(f *testing.F) {
	for _, seed := range []string{minimalReport, minimalReport + "---\n" + one("name: a"), minimalReport + "---\n" + vmYAML,
		"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {domain: {cpu: {cores: x}}}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: {cpu: 1e999999999}}}]}\n",
		"apiVersion: corepin.dev/v1alpha1\nkind: NodeCPU\nmetadata: {name: \"\\x1b[2J\"}\nstatus: {cpuManager: {policy: static}}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip("the limits below are for small files")
		}
		start := time.Now()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, args := range [][]string{
			{"check", "-f", "-", "-o", "json"}, {"check", "-f", "-"}, {"fit", "-f", "-"}, {"nodes", "-f", "-"},
			{"explain", "pod", "a", "-f", "-"}, {"pins", "-f", "-", "--cpus", "1,5"},
		} {
			code, out, errs := run(t, string(data), args...)
			if code == exitError == (errs == "") {
				t.Errorf("%s: exit code %d, error %q, answer %q", args, code, errs, out)
			}
			checkHarmless(t, args[0], out)
			checkHarmless(t, args[0], errs)
		}
		runtime.ReadMemStats(&after)
		took := time.Since(start)
		allocated := after.TotalAlloc - before.TotalAlloc
		if took > 20*time.Second || allocated > 2<<30 {
			t.Errorf("%d bytes took %v and %d MiB", len(data), took, allocated>>20)
		}
	})
}
