// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A boot costs half a minute of CPU time, and an emulated machine that boots may stand still. So the first machine
// of its kind is saved when containerd runs in it, and those after it are restored. What was saved belongs to one version
// of QEMU, one hardware, and the very disks of the folder of parts, where it is kept. A machine that was saved has no name,
// no API server and an old clock: see introduce.

// stateFile is what QEMU saves, beside copies of the disks.
const stateFile = "state"

// saved is the folder of the saved machines that are like this one in everything that counts.
func (m *Machine) saved() (string, error) {
	version, err := exec.Command(qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking QEMU for its version: %w", err)
	}
	// Paths and ports differ between machines that are alike.
	alike := &Machine{options: m.options}
	alike.options.Name, alike.options.Dir, alike.options.Parts = "", "", ""
	sum := sha256.Sum256(fmt.Appendf(version, "%q", alike.command("").Args))
	return m.part(filepath.Join("saved", fmt.Sprintf("%x", sum[:8]))), nil
}

// restore starts the machine from what was saved. It fails with fs.ErrNotExist where nothing was.
func (m *Machine) restore(ctx context.Context, from string) error {
	state := filepath.Join(from, stateFile)
	if _, err := os.Stat(state); err != nil {
		return err
	}
	if err := m.copyDisks(from); err != nil {
		return err
	}
	if err := m.launch("exec:cat <" + quoted(state)); err != nil {
		return err
	}
	err := m.control(ctx, func(ctx context.Context, q *monitor) error { return q.goOn(ctx) })
	if err == nil {
		err = m.Alive(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("restoring machine %s from %s: %w", m.options.Name, from, err), m.qemu.Kill())
	}
	return nil
}

// save keeps the machine as it is now, whole or not at all. The machine goes on.
func (m *Machine) save(ctx context.Context, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(to), ".saving-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(unfinished) // of no effect once it is renamed
	err = m.control(ctx, func(ctx context.Context, q *monitor) error {
		return q.save(ctx, filepath.Join(unfinished, stateFile), func() error {
			var errs []error
			for _, disk := range disks {
				errs = append(errs, copySparse(filepath.Join(unfinished, disk), m.path(disk)))
			}
			return errors.Join(errs...)
		})
	})
	if err == nil {
		err = os.Rename(unfinished, to)
	}
	if errors.Is(err, fs.ErrExist) { // somebody else has saved one meanwhile
		return nil
	}
	if err != nil {
		return fmt.Errorf("saving machine %s: %w", m.options.Name, err)
	}
	return nil
}

// control does something over QEMU's control socket, which is there a moment after the start.
func (m *Machine) control(ctx context.Context, do func(context.Context, *monitor) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var q *monitor
	err := m.await(ctx, deadline, "QEMU's control socket", func(ctx context.Context) (err error) {
		q, err = dial(ctx, m.path(controlSocket))
		return err
	})
	if err != nil {
		return err
	}
	defer q.close()
	return do(ctx, q)
}

// quoted is a path for the shell that QEMU starts.
func quoted(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }
