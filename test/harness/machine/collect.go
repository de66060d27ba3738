// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// evidence is what Collect asks a machine for: a file's name to the script that prints it.
var evidence = map[string]string{
	"kubelet.log":          "cat " + KubeletLog,
	"containerd.log":       "cat /var/log/containerd.log",
	"cpu_manager_state":    "cat " + CPUStateFile,
	"memory_manager_state": "cat " + MemoryStateFile,
	"devices":              "cat " + DeviceStateFile + " /var/log/deviceplugin.log",
	"config.yaml":          "cat " + configFile,
	"pods.log":             "for log in /var/log/pods/*/*/*.log; do echo \"== $log\"; cat $log; done",
	"processes":            "for p in /proc/[0-9]*; do echo \"${p##*/} $(tr '\\0' ' ' <$p/cmdline) $(grep Cpus_allowed_list $p/status)\"; done",
	"kernel.log":           "dmesg",
	"memory":               "cat /proc/meminfo; df",
}

// Collect writes into the machine's own folder, beside its console, what there is to know of it. What
// cannot be had is in the error; the rest is written all the same.
func (m *Machine) Collect(ctx context.Context) error {
	var errs []error
	for name, script := range evidence {
		output, err := m.Run(ctx, "sh", "-c", script)
		var exit *ExitError
		if err != nil && !errors.As(err, &exit) {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, os.WriteFile(filepath.Join(m.options.Dir, name), []byte(output), 0o644))
	}
	return errors.Join(errs...)
}

// Discard removes the machine's disks and keeps its logs. The machine must have been stopped.
func (m *Machine) Discard() error {
	var errs []error
	for _, disk := range disks {
		errs = append(errs, os.Remove(m.path(disk)))
	}
	return errors.Join(errs...)
}
