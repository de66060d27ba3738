// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"maps"
	"os"
	"testing"
	"testing/fstest"
)

func TestReadTuning(t *testing.T) {
	files := func(all map[string]string) fstest.MapFS {
		fsys := fstest.MapFS{}
		for name, text := range all {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		return fsys
	}
	const cpus = "devices/system/cpu/"
	sys := files(map[string]string{
		cpus + "isolated": "2-7\n", cpus + "nohz_full": "  (null)\n", cpus + "smt/control": "off\n", "devices/virtual/workqueue/cpumask": "03\n",
		"kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n", "kernel/mm/ksm/run": "0\n",
		cpus + "cpufreq/policy0/scaling_governor": "performance\n", cpus + "cpufreq/policy1/scaling_governor": "powersave\n", cpus + "intel_pstate/no_turbo": "1\n",
		cpus + "cpu0/cpuidle/state0/name": "POLL\n", cpus + "cpu0/cpuidle/state0/disable": "0\n",
		cpus + "cpu0/cpuidle/state1/name": "C6\n", cpus + "cpu0/cpuidle/state1/disable": "1\n",
		"devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
	})
	proc := files(map[string]string{
		"cmdline":                        "BOOT_IMAGE=/vmlinuz root=UUID=secret irqaffinity=0-1 rcu_nocbs=2-7 quiet\n",
		"sys/kernel/numa_balancing":      "0\n",
		"sys/kernel/sched_rt_runtime_us": "-1\n",
	})
	want := map[string]string{
		"isolcpus": "2-7", "smt": "off", "workqueues": "03", "transparent_hugepage": "madvise", "ksm": "0", "governor": "performance,powersave", "turbo": "off",
		"cstates": "POLL", "clocksource": "tsc", "irqaffinity": "0-1", "rcu_nocbs": "2-7", "numa_balancing": "0", "sched_rt_runtime_us": "-1",
	}
	if got := ReadTuning(sys, proc); !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if got := ReadTuning(files(nil), files(nil)); len(got) != 0 {
		t.Errorf("of an empty machine: %v", got)
	}
	got := ReadTuning(os.DirFS("/sys"), os.DirFS("/proc"))
	t.Logf("this machine: %v", got)
	if got["clocksource"] == "" {
		t.Errorf("this machine has no clock: %v", got)
	}
}
