package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"corepin.dev/corepin/agent/pinning"
)

// runtimeDir is the launcher's volume libvirt-runtime in a pod's directory, which it mounts at
// /var/run/libvirt (KubeVirt pkg/virt-controller/services/template.go).
const runtimeDir = "volumes/kubernetes.io~empty-dir/libvirt-runtime"

// socketNames in the order in which they are tried.
var socketNames = []string{"virtqemud-sock", "libvirt-sock"}

// dial connects to the libvirt of the pod whose directory is podDir, and tells the user id that owns the
// socket. It never follows a link out of podDir. The error wraps pinning.ErrUnreachable where nothing
// answers there.
func dial(ctx context.Context, podDir string) (conn net.Conn, owner uint32, err error) {
	dir, err := os.OpenFile(podDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, err)
	}
	defer dir.Close()

	var missing error
	for _, name := range socketNames {
		socket, err := openSocket(dir, path.Join(runtimeDir, name))
		if errors.Is(err, os.ErrNotExist) {
			missing = err
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, err)
		}
		defer socket.Close()
		return dialFile(ctx, socket)
	}
	return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, missing)
}

// openSocket opens a socket below dir as a path only, which does not connect to it.
func openSocket(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	full := path.Join(dir.Name(), name)
	if errors.Is(err, unix.EXDEV) {
		return nil, fmt.Errorf("refusing %s: it leads out of the pod's directory", full)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}

// dialFile connects to a socket that was opened as a path.
func dialFile(ctx context.Context, socket *os.File) (net.Conn, uint32, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(socket.Fd()), &stat); err != nil {
		return nil, 0, fmt.Errorf("reading the owner of %s: %w", socket.Name(), err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, 0, fmt.Errorf("%w: %s is not a socket", pinning.ErrUnreachable, socket.Name())
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(socket.Fd())))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %s: %w", pinning.ErrUnreachable, socket.Name(), err)
	}
	return conn, stat.Uid, nil
}
