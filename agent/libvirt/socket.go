// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
)

// runtimeDir is the launcher's emptyDir libvirt-runtime in a pod's directory, which it mounts at
// /var/run/libvirt (KubeVirt pkg/virt-controller/services/template.go).
const runtimeDir = "volumes/kubernetes.io~empty-dir/libvirt-runtime"

// socketNames in the order in which they are tried: KubeVirt's since v0.59, and that of older ones and of libvirtd.
var socketNames = []string{"virtqemud-sock", "libvirt-sock"}

// dial connects to the libvirt of the guest at that place, and gives the user id that owns the socket. The error wraps
// pinning.ErrUnreachable where nothing answers there, and names the first of the sockets that were tried.
func (h *Hypervisor) dial(ctx context.Context, place pinning.Place) (conn net.Conn, owner uint32, err error) {
	switch h.from {
	case config.FromHost:
		socket, err := h.lookups.within(ctx, "the host", func() (*os.File, error) { return openFirst(h.sockets, openFree) })
		return dialFile(ctx, socket, err)
	case config.FromProcess:
		return h.dialProcess(ctx, place.PodUID)
	default:
		socket, err := h.lookups.within(ctx, place.PodDir, func() (*os.File, error) { return openInPod(place.PodDir) })
		return dialFile(ctx, socket, err)
	}
}

// openInPod opens the socket in a pod's directory as a path, which does not connect to it. The content of the emptyDir
// is the tenant's. No link is followed there and no other mount is entered: a volume of the pod may never answer, and
// a thread that waits for it cannot be killed.
func openInPod(podDir string) (*os.File, error) {
	dir, err := os.OpenFile(podDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	volume, err := openVolume(dir)
	if err != nil {
		return nil, err
	}
	defer volume.Close()
	return openFirst(socketNames, func(name string) (*os.File, error) { return openBeneath(volume, name, 0, unix.RESOLVE_NO_XDEV) })
}

// openVolume opens the emptyDir. It is a directory of the kubelet's own file system, or a tmpfs where its medium is
// memory. Nothing else that may be mounted there is touched.
func openVolume(podDir *os.File) (*os.File, error) {
	volume, err := openBeneath(podDir, runtimeDir, unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV)
	if !errors.Is(err, unix.EXDEV) {
		return volume, err
	}
	full, readErr := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(podDir.Fd())))
	if readErr != nil {
		return nil, readErr
	}
	kind, readErr := mountedAt("/proc/self/mountinfo", path.Join(full, runtimeDir))
	if readErr != nil {
		return nil, readErr
	}
	if kind != "tmpfs" {
		return nil, err
	}
	return openBeneath(podDir, runtimeDir, unix.O_DIRECTORY, 0)
}

// openBeneath opens as a path what is beneath dir. No symbolic link is followed.
func openBeneath(dir *os.File, name string, flags, resolve uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   flags | unix.O_PATH | unix.O_CLOEXEC,
		Resolve: resolve | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	full := path.Join(dir.Name(), name)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("refusing %s: it is a symbolic link: %w", full, err)
	case errors.Is(err, unix.EXDEV):
		return nil, fmt.Errorf("refusing %s: another file system is mounted there: %w", full, err)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}

// openFree opens as a path a socket of the host, whose paths are not a guest's to choose.
func openFree(name string) (*os.File, error) {
	return os.OpenFile(name, unix.O_PATH|unix.O_CLOEXEC, 0)
}

// openFirst opens the first of the sockets that there is. Where there is none, the error names the first.
func openFirst(names []string, open func(name string) (*os.File, error)) (*os.File, error) {
	var missing error
	for _, name := range names {
		socket, err := open(name)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return socket, err
		}
		if missing == nil {
			missing = err
		}
	}
	if missing == nil {
		missing = errors.New("no socket is configured")
	}
	return nil, missing
}

// dialFile connects to a socket that was opened as a path: to that very file, whatever has its name by now. It also
// spares the limit of 107 bytes of a socket's path, which that of a pod's volume exceeds. err is that of the opening.
func dialFile(ctx context.Context, socket *os.File, err error) (net.Conn, uint32, error) {
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, err)
	}
	defer socket.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(socket.Fd()), &stat); err != nil {
		return nil, 0, fmt.Errorf("reading the owner of %s: %w", socket.Name(), err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, 0, fmt.Errorf("%w: %s is not a socket", pinning.ErrUnreachable, socket.Name())
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(socket.Fd())))
	failed := (*net.OpError)(nil)
	if errors.As(err, &failed) {
		err = failed.Err // without the descriptor's number, which makes each try another text, and so another event
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %s: %w", pinning.ErrUnreachable, socket.Name(), err)
	}
	return conn, stat.Uid, nil
}

// lookups keeps the opening of sockets within deadlines. A file system that hangs keeps the one thread that asks it,
// and no second one asks for the same place meanwhile.
type lookups struct {
	mu      sync.Mutex
	hanging map[string]bool // places that are looked at
}

// within opens a socket at that place, and gives up when ctx ends.
func (l *lookups) within(ctx context.Context, place string, open func() (*os.File, error)) (*os.File, error) {
	if !l.begin(place) {
		return nil, fmt.Errorf("the file system at %s has not answered the last look for the socket", place)
	}
	type result struct {
		socket *os.File
		err    error
	}
	done := make(chan result)
	go func() {
		socket, err := open()
		l.end(place)
		select {
		case done <- result{socket, err}:
		case <-ctx.Done():
			socket.Close() // does nothing where there is none
		}
	}()
	select {
	case r := <-done:
		return r.socket, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *lookups) begin(place string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hanging[place] {
		return false
	}
	if l.hanging == nil {
		l.hanging = map[string]bool{}
	}
	l.hanging[place] = true
	return true
}

func (l *lookups) end(place string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hanging, place)
}
