// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// SocketName is that of KubeVirt's virtqemud, which serves what libvirtd serves here.
	SocketName = "virtqemud-sock"
	// User runs guests, as it does in KubeVirt's launcher pods; its group has the same number.
	User = 107
	// idleExit ends a libvirtd that lost its guest and its last connection, that is, whose starter died.
	idleExit = 5 * time.Second
	// stopGrace is what libvirtd gets to end itself before it is killed, and what the kernel gets to end what was killed.
	stopGrace = 5 * time.Second
)

// ServerOptions say how a libvirtd is started.
type ServerOptions struct {
	// SocketDir is the existing directory in which the socket virtqemud-sock appears.
	SocketDir string
	// Groups are those of the user beside its own.
	Groups []uint32
	// Host is the name of the host that libvirtd believes to be on, "" for this one's. With a name of its own it has a machine's
	// UUID of its own too: libvirt migrates no guest to the host that it is on.
	Host string
}

// Server is one libvirtd, and the guests that are started in it. It may be killed and started again: its guests go on meanwhile, and
// it finds them again, as a virtqemud does in a launcher pod. Its methods are not safe for concurrent use.
type Server struct {
	options ServerOptions
	path    string
	private string // HOME and XDG_* of libvirtd: its state, logs and QEMU's files
	cmd     *exec.Cmd
	exited  chan struct{}
	stopped bool
}

// NewServer prepares a libvirtd. Stop must be called, also where it never started.
func NewServer(o ServerOptions) (*Server, error) {
	path, err := exec.LookPath("libvirtd")
	if err != nil {
		return nil, fmt.Errorf("finding libvirtd: %w; on Debian, apt-get install libvirt-daemon", err)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("starting libvirtd as user %d: only root can; run as root", User)
	}
	s := &Server{options: o, path: path}
	s.private, err = os.MkdirTemp("", "guest-")
	if err != nil {
		return nil, fmt.Errorf("creating libvirtd's private directory: %w", err)
	}
	err = keep(s.private)
	if err == nil {
		err = s.configure()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("giving libvirtd its private directory: %w", err), os.RemoveAll(s.private))
	}
	return s, nil
}

// configure makes the private directory libvirtd's own. Without the setting in it libvirt's QEMU driver
// starts a virtlogd, which stays for two minutes after everything else has gone.
func (s *Server) configure() error {
	config := filepath.Join(s.private, "libvirt")
	if err := os.Mkdir(config, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(config, "qemu.conf"), []byte("stdio_handler = \"file\"\n"), 0o644); err != nil {
		return err
	}
	if s.options.Host != "" {
		settings := []byte("host_uuid = \"5f0a6c3e-8a0b-4a52-9d4c-2f6c3b1a7d10\"\n")
		if err := os.WriteFile(filepath.Join(config, "libvirtd.conf"), settings, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(os.Chown(config, User, User), os.Chown(s.private, User, User), s.writeUsers())
}

// writeUsers writes the list of users that libvirtd gets to see: the machine's own and the launcher's, since session mode refuses a
// user that has no entry.
func (s *Server) writeUsers() error {
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	users = fmt.Appendf(users, "launcher:x:%d:%d::%s:/bin/false\n", User, User, s.private)
	return os.WriteFile(s.users(), users, 0o644)
}

func (s *Server) users() string { return filepath.Join(s.private, "passwd") }

// Private is the server's own directory, which goes with it. Guests may read and write there.
func (s *Server) Private() string { return s.private }

// Socket is where the server listens.
func (s *Server) Socket() string { return filepath.Join(s.options.SocketDir, SocketName) }

// move brings the socket to another directory of the same file system. Who connects there is served.
func (s *Server) move(socketDir string) error {
	if err := os.Rename(s.Socket(), filepath.Join(socketDir, SocketName)); err != nil {
		return fmt.Errorf("moving libvirtd's socket: %w", err)
	}
	s.options.SocketDir = socketDir
	return nil
}

// PID is the libvirtd that was started last.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Exited is closed when that has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

func (s *Server) log() string { return filepath.Join(s.private, "output") }

// Output is what all its libvirtds have printed.
func (s *Server) Output() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return string(text)
}

// GuestPID is the process of a guest, as libvirt noted it.
func (s *Server) GuestPID(domain string) (int, error) {
	text, err := os.ReadFile(filepath.Join(s.private, "libvirt/qemu/run", domain+".pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// listen opens the socket that libvirtd will serve. A socket left by a libvirtd that died is replaced.
func listen(socketDir string) (*os.File, error) {
	var file *os.File
	err := within(socketDir, func(dir string) error {
		path := filepath.Join(dir, SocketName)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		defer listener.Close()
		listener.SetUnlinkOnClose(false)
		if err := errors.Join(os.Chown(path, User, User), os.Chmod(path, 0o700)); err != nil {
			return err
		}
		file, err = listener.File()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening libvirtd's socket in %s: %w", socketDir, err)
	}
	return file, nil
}

// addressBytes are what a socket's address holds.
const addressBytes = 107

// within calls use with dir, or with a short path of it where that of a socket in it is too long.
func within(dir string, use func(short string) error) error {
	if len(filepath.Join(dir, SocketName)) <= addressBytes {
		return use(dir)
	}
	handle, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer handle.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()))
}

// become runs a program as the launcher's user, in a mount namespace of its own in which /etc/passwd is the file $0. LISTEN_PID must
// be the pid of the program itself, which only the process that becomes it knows.
const become = `{ [ -z "$5" ] || hostname "$5"; } && mount --make-rprivate / && mount --bind "$0" /etc/passwd &&
exec setpriv --reuid=$1 --regid=$1 --groups="$2" /bin/sh -c 'LISTEN_PID=$$ exec "$0" "$@"' "$3" --timeout "$4"`

// Start starts libvirtd. It answers as soon as it is ready: the socket listens from the start.
func (s *Server) Start() error {
	listener, err := listen(s.options.SocketDir)
	if err != nil {
		return err
	}
	defer listener.Close()
	output, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	groups := strconv.Itoa(User)
	for _, group := range s.options.Groups {
		groups += "," + strconv.FormatUint(uint64(group), 10)
	}
	s.cmd = exec.Command("/bin/sh", "-c", become, s.users(), strconv.Itoa(User), groups, s.path, strconv.Itoa(int(idleExit.Seconds())), s.options.Host)
	s.cmd.Dir = s.private
	s.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LISTEN_FDS=1", "LISTEN_FDNAMES=libvirtd.socket",
		"HOME=" + s.private, "XDG_RUNTIME_DIR=" + s.private, "XDG_CONFIG_HOME=" + s.private, "XDG_CACHE_HOME=" + cache,
	}
	s.cmd.ExtraFiles = []*os.File{listener}
	s.cmd.Stdout = output
	s.cmd.Stderr = output
	// A session of its own: Ctrl-C at the terminal must reach whoever will call Stop, not libvirtd.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS}
	if s.options.Host != "" {
		s.cmd.SysProcAttr.Unshareflags |= syscall.CLONE_NEWUTS
	}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("starting libvirtd: %w", err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in its output
	}(s.cmd, s.exited)
	return nil
}

// Signal sends a signal to libvirtd. One that has ended gets none.
func (s *Server) Signal(signal syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	// Until Wait has returned the pid is libvirtd's, so this cannot hit a stranger.
	err := s.cmd.Process.Signal(signal)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to libvirtd: %w", signal, err)
	}
	return nil
}

// Kill kills libvirtd, and returns when it is gone. Its guests go on.
func (s *Server) Kill() error {
	if s.cmd == nil {
		return nil
	}
	err := s.Signal(syscall.SIGKILL)
	<-s.exited
	return err
}

// Stop ends libvirtd and its guests, and removes their files. It may be called again.
func (s *Server) Stop(ctx context.Context) error {
	if s.stopped {
		return nil
	}
	s.stopped = true
	var errs []error
	if s.cmd != nil {
		errs = append(errs, s.Signal(syscall.SIGTERM))
		grace, cancel := context.WithTimeout(ctx, stopGrace)
		defer cancel()
		select {
		case <-s.exited:
		case <-grace.Done():
			errs = append(errs, s.Kill())
		}
	}
	errs = append(errs, killAll(s.private), os.RemoveAll(s.private))
	if err := os.Remove(s.Socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
