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

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
)

// runtimeDir is the launcher's volume libvirt-runtime in a pod's directory, which it mounts at
// /var/run/libvirt (KubeVirt pkg/virt-controller/services/template.go).
const runtimeDir = "volumes/kubernetes.io~empty-dir/libvirt-runtime"

// socketNames in the order in which they are tried.
var socketNames = []string{"virtqemud-sock", "libvirt-sock"}

// confinement is how a path is kept below a directory that a guest could write to.
type confinement uint64

const (
	// beneath: no link leads out. The links in a volume of ours are relative.
	beneath confinement = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
	// asRoot: absolute links lead to below the directory, as they do for the processes that have it for their root.
	asRoot confinement = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	// free: the directory is the host's own root.
	free confinement = 0
)

// dial connects to the libvirt of the guest at that place, and tells the user id that owns the socket. It
// never follows a link out of where the launcher's files are. The error wraps pinning.ErrUnreachable where
// nothing answers there.
func (h *Hypervisor) dial(ctx context.Context, place pinning.Place) (conn net.Conn, owner uint32, err error) {
	switch h.from {
	case config.FromHost:
		return dialIn(ctx, "/", h.sockets, free)
	case config.FromProcess:
		return h.dialProcess(ctx, place.PodUID)
	default:
		var sockets []string
		for _, name := range socketNames {
			sockets = append(sockets, path.Join(runtimeDir, name))
		}
		return dialIn(ctx, place.PodDir, sockets, beneath)
	}
}

// dialIn connects to the first of the sockets that there is in a directory.
func dialIn(ctx context.Context, dirName string, sockets []string, within confinement) (net.Conn, uint32, error) {
	dir, err := os.OpenFile(dirName, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", pinning.ErrUnreachable, err)
	}
	defer dir.Close()
	missing := errors.New("no socket is configured")
	for _, name := range sockets {
		socket, err := openSocket(dir, name, within)
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

// openSocket opens a socket in dir as a path only, which does not connect to it.
func openSocket(dir *os.File, name string, within confinement) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: uint64(within),
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
	if failed := (*net.OpError)(nil); errors.As(err, &failed) {
		err = failed.Err // without the descriptor's number, which makes each try another text, and so another event
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %s: %w", pinning.ErrUnreachable, socket.Name(), err)
	}
	return conn, stat.Uid, nil
}
