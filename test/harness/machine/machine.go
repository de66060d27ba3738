// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"corepin.dev/corepin/test/harness/await"
	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/process"
)

// deadline is for what takes seconds on an idle host and minutes on one that is shared.
const deadline = 5 * time.Minute

// A boot takes less than a minute. On a busy host an emulated machine may stand still, with all its CPUs waiting
// for QEMU's one lock. Its console then reports RCU stalls (seen with QEMU 7.2), and the boot is begun again.
const (
	bootPatience = 2 * time.Minute
	bootTries    = 3
)

// Shape is what a machine's hardware looks like. Each NUMA node is a socket.
type Shape struct {
	NUMANodes int
	Cores     int // of each NUMA node
	Threads   int // of each core
}

// CPUs is the number of CPUs in all.
func (s Shape) CPUs() int { return s.NUMANodes * s.Cores * s.Threads }

// Options says what machine is to be.
type Options struct {
	// Name is the machine's host name and that of its Node.
	Name string
	// Dir takes the disk, the console and the logs of this machine alone.
	Dir string
	// Parts is the folder that hack/machine.sh filled.
	Parts string
	// Shape is the hardware.
	Shape Shape
	// MemoryMiB is the memory, of which every NUMA node has the same part.
	MemoryMiB int
	// GiBPages is how many pages of 1 GiB every NUMA node has, from the boot on: later a kernel may not find so much in one
	// piece. For pages of 2 MiB see SetHugePages.
	GiBPages int
	// AppArmor makes the kernel confine processes by AppArmor's profiles. containerd then gives containers its own.
	AppArmor bool
	// APIServer is the address of the API server, host:port on loopback.
	APIServer string
}

// Machine is a machine that runs. Stop must be called.
type Machine struct {
	options  Options
	qemu     *process.Process
	commands string // address of machined, on loopback
	kubelet  string // address of the kubelet, on loopback
	origin   string
}

// Start starts a machine and returns when it takes commands and containerd runs in it.
func Start(ctx context.Context, options Options) (*Machine, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding the folder of machine %s: %w", options.Name, err)
	}
	options.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of machine %s: %w", options.Name, err)
	}
	m := &Machine{options: options}
	addresses, err := cluster.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	m.commands, m.kubelet = addresses[0], addresses[1]
	if err := m.appear(ctx); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

// appear restores the machine from one that was saved. Where that cannot be, it boots the machine from new disks and
// saves it.
func (m *Machine) appear(ctx context.Context) error {
	saved, err := m.saved()
	if err != nil {
		return err
	}
	err = m.restore(ctx, saved)
	if err == nil {
		m.origin = "restored"
		return m.introduce(ctx)
	}
	m.origin = "booted"
	switch {
	case ctx.Err() != nil:
		return err
	case !errors.Is(err, fs.ErrNotExist):
		m.origin += fmt.Sprintf(", since it could not be restored: %v", errors.Join(err, os.RemoveAll(saved)))
	}
	if err := m.copyDisks(m.options.Parts); err != nil {
		return fmt.Errorf("%w; hack/machine.sh makes the disks", err)
	}
	if err := m.boot(ctx); err != nil {
		return err
	}
	if err := m.StartContainerd(ctx); err != nil {
		return err
	}
	if err := m.save(ctx, saved); err != nil {
		m.origin += fmt.Sprintf(", and not saved: %v", err)
	}
	return m.introduce(ctx)
}

// introduceScript gives a machine its name $0, the clock $1, and the address $2 of its API server for machined.
const introduceScript = `hostname "$0" && date -s "@$1" && echo "$2" >/run/apiserver`

// introduce tells a machine what one that was saved cannot know.
func (m *Machine) introduce(ctx context.Context) error {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	_, err := m.Run(ctx, "sh", "-c", introduceScript, m.options.Name, now, "10.0.2.2:"+port(m.options.APIServer))
	return err
}

// disks are those that a machine writes to: its root and what containerd keeps.
var disks = []string{"root.ext4", "store.ext4"}

func (m *Machine) copyDisks(from string) error {
	for _, disk := range disks {
		if err := copySparse(m.path(disk), filepath.Join(from, disk)); err != nil {
			return fmt.Errorf("copying a disk of machine %s: %w", m.options.Name, err)
		}
	}
	return nil
}

// launch starts QEMU; see command.
func (m *Machine) launch(incoming string) (err error) {
	m.qemu, err = process.Start(m.command(incoming))
	return err
}

// boot starts the machine and waits until machined answers. It pulls the plug of a machine that stands still.
func (m *Machine) boot(ctx context.Context) error {
	for try := 1; ; try++ {
		if err := m.launch(""); err != nil {
			return err
		}
		err := m.Alive(ctx)
		if err == nil || try == bootTries || ctx.Err() != nil || !m.qemu.Running() {
			return err
		}
		m.origin += fmt.Sprintf(", again, since it stood still at boot %d", try)
		if err := m.qemu.Kill(); err != nil {
			return err
		}
	}
}

// Alive returns once the machine takes commands; of one that stands still it gives the console.
func (m *Machine) Alive(ctx context.Context) error {
	err := m.await(ctx, bootPatience, "machine "+m.options.Name+" to answer", func(ctx context.Context) error {
		_, err := m.Run(ctx, "true")
		return err
	})
	if err != nil {
		return fmt.Errorf("%w; its console %s ends:\n%s", err, m.path("console.log"), m.consoleTail())
	}
	return nil
}

// Origin says whether the machine was restored or booted, and why.
func (m *Machine) Origin() string { return m.origin }

// pause is the time between two looks into a machine: each costs emulated CPUs a process or more.
const pause = time.Second

// await waits for something in the machine, and no longer than QEMU runs.
func (m *Machine) await(ctx context.Context, limit time.Duration, what string, probe func(context.Context) error) error {
	return await.Every(ctx, pause, what, limit, func(ctx context.Context) error {
		if !m.qemu.Running() {
			return await.Stop(fmt.Errorf("QEMU has ended; %s ends:\n%s", m.qemu.LogFile(), m.qemu.LogTail()))
		}
		return probe(ctx)
	})
}

// Name is the machine's name, and its Node's.
func (m *Machine) Name() string { return m.options.Name }

// Shape is the machine's hardware.
func (m *Machine) Shape() Shape { return m.options.Shape }

// KubeletAddress is where the kubelet's port 10250 is on this host.
func (m *Machine) KubeletAddress() string { return m.kubelet }

// Stop ends the machine at once, as pulling the plug does. It may be called again.
func (m *Machine) Stop() error {
	if m.qemu == nil { // it did not come so far
		return nil
	}
	return m.qemu.Kill()
}

// Reset pulls the plug and boots again from the same disk. Nothing is started in it.
func (m *Machine) Reset(ctx context.Context) error {
	if err := errors.Join(m.qemu.Kill(), m.boot(ctx)); err != nil {
		return err
	}
	return m.introduce(ctx)
}

// Renew gives the place of this machine to a new one: nothing is left of what the machine was.
func (m *Machine) Renew(ctx context.Context) error {
	return errors.Join(m.qemu.Kill(), m.appear(ctx))
}

func (m *Machine) path(elements ...string) string {
	return filepath.Join(append([]string{m.options.Dir}, elements...)...)
}

// port is the port of a loopback address.
func port(address string) string {
	_, port, _ := net.SplitHostPort(address) // FreeAddresses made it
	return port
}

// consoleTail is the end of what the machine wrote on its serial console.
func (m *Machine) consoleTail() string {
	data, err := os.ReadFile(m.path("console.log"))
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return string(data[max(0, len(data)-4096):])
}

// copySparse copies a file and leaves out its holes: a disk is mostly that.
func copySparse(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for end := int64(0); ; {
		start, err := in.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole to the end
			return out.Truncate(info.Size())
		}
		if err != nil {
			return err
		}
		if end, err = in.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, start), io.NewSectionReader(in, start, end-start)); err != nil {
			return err
		}
	}
}
