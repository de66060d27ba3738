// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// ReadTuning reads the settings of the machine that decide about latency, from sysfs and procfs, whose roots (/sys and
// /proc) are given. What the machine does not have is left out. All are as the kernel says; none is judged.
func ReadTuning(sys, proc fs.FS) map[string]string {
	tuning := map[string]string{}
	put := func(name, value string) {
		value = strings.TrimSpace(value)
		if value != "" && value != "(null)" {
			tuning[name] = value[:min(len(value), maxSetting)]
		}
	}
	read := func(fsys fs.FS, name string) string {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return "" // not every kernel has it
		}
		return string(text)
	}
	for name, file := range map[string]string{
		"isolcpus": cpuDir + "/isolated", "nohz_full": cpuDir + "/nohz_full", "smt": cpuDir + "/smt/control",
		"workqueues": "devices/virtual/workqueue/cpumask", "clocksource": "devices/system/clocksource/clocksource0/current_clocksource",
		"ksm": "kernel/mm/ksm/run",
	} {
		put(name, read(sys, file))
	}
	for name, file := range map[string]string{"numa_balancing": "sys/kernel/numa_balancing", "sched_rt_runtime_us": "sys/kernel/sched_rt_runtime_us"} {
		put(name, read(proc, file))
	}
	put("transparent_hugepage", chosen(read(sys, "kernel/mm/transparent_hugepage/enabled")))
	for field := range strings.FieldsSeq(read(proc, "cmdline")) {
		name, value, _ := strings.Cut(field, "=")
		if slices.Contains(parameters, name) {
			put(name, value)
		}
	}
	put("turbo", turbo(read(sys, cpuDir+"/intel_pstate/no_turbo"), read(sys, cpuDir+"/cpufreq/boost")))
	put("governor", governors(sys))
	put("cstates", idleStates(sys, read))
	return tuning
}

// maxSetting is the longest value: the report has no room for more.
const maxSetting = 256

// parameters are those of the kernel's command line that sysfs does not show.
var parameters = []string{"rcu_nocbs", "irqaffinity", "intel_idle.max_cstate", "processor.max_cstate", "idle", "mitigations"}

// chosen is the value in brackets of a file such as "always [madvise] never".
func chosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	value, _, _ := strings.Cut(rest, "]")
	return value
}

// turbo is on or off, by the driver intel_pstate or by the others.
func turbo(noTurbo, boost string) string {
	on := map[string]string{"0": "on", "1": "off"}[strings.TrimSpace(noTurbo)]
	if on != "" {
		return on
	}
	return map[string]string{"1": "on", "0": "off"}[strings.TrimSpace(boost)]
}

// governors are those of all CPUs.
func governors(sys fs.FS) string {
	policies, err := fs.Glob(sys, path.Join(cpuDir, "cpufreq", "policy[0-9]*", "scaling_governor"))
	if err != nil {
		return ""
	}
	all := map[string]bool{}
	for _, file := range policies {
		text, err := fs.ReadFile(sys, file)
		if err == nil {
			all[strings.TrimSpace(string(text))] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ",")
}

// idleStates are the idle states that CPU 0 may enter, shallowest first.
func idleStates(sys fs.FS, read func(fs.FS, string) string) string {
	dirs, err := fs.Glob(sys, path.Join(cpuDir, "cpu0", "cpuidle", "state[0-9]"))
	if err != nil {
		return ""
	}
	var allowed []string
	for _, dir := range dirs {
		if strings.TrimSpace(read(sys, path.Join(dir, "disable"))) == "0" {
			allowed = append(allowed, strings.TrimSpace(read(sys, path.Join(dir, "name"))))
		}
	}
	return strings.Join(allowed, ",")
}
