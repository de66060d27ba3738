package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

const (
	// SocketName is that of KubeVirt's virtqemud, which serves what libvirtd serves here.
	SocketName = "virtqemud-sock"
	// idleExit ends a libvirtd that lost its guest and its last connection, that is, whose starter died.
	idleExit = 5 * time.Second
	// stopGrace is what libvirtd gets to end itself before it is killed.
	stopGrace = 5 * time.Second
)

// daemon is one libvirtd, with a connection that is held open as long as it lives.
type daemon struct {
	private  string // HOME and XDG_* of libvirtd: its state, logs and QEMU's files
	socket   string // what to remove at the end
	cmd      *exec.Cmd
	output   *bytes.Buffer // what libvirtd printed; to be read only once exited is closed
	exited   chan struct{}
	libvirt  *libvirt.Libvirt
	stopOnce sync.Once
	stopErr  error
}

// startDaemon starts a libvirtd whose socket is socketDir/SocketName and connects to uri in it.
func startDaemon(ctx context.Context, socketDir string, uri libvirt.ConnectURI, groups []uint32) (*daemon, error) {
	path, err := exec.LookPath("libvirtd")
	if err != nil {
		return nil, fmt.Errorf("finding libvirtd: %w; on Debian, apt-get install libvirt-daemon", err)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("starting libvirtd as user %d: only root can; run as root", launcherUser)
	}
	listener, err := listen(socketDir)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	d := &daemon{
		socket: filepath.Join(socketDir, SocketName),
		exited: make(chan struct{}),
		output: &bytes.Buffer{},
	}
	if err := d.spawn(path, listener, groups); err != nil {
		return nil, errors.Join(err, d.cleanUp())
	}
	if err := d.connect(ctx, uri); err != nil {
		err = errors.Join(err, d.stop(ctx))
		return nil, fmt.Errorf("%w; libvirtd said:\n%s", err, d.output)
	}
	return d, nil
}

// launcherUser runs guests, as it does in KubeVirt's launcher pods; its group has the same number.
const launcherUser = 107

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
		if err := errors.Join(os.Chown(path, launcherUser, launcherUser), os.Chmod(path, 0o700)); err != nil {
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

// within calls use with a short path of dir: a socket's address holds 107 bytes only.
func within(dir string, use func(short string) error) error {
	handle, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer handle.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()))
}

// configure makes the private directory libvirtd's own. Without the setting in it libvirt's QEMU driver
// starts a virtlogd, which stays for two minutes after everything else has gone.
func (d *daemon) configure() error {
	config := filepath.Join(d.private, "libvirt")
	if err := os.Mkdir(config, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(config, "qemu.conf"), []byte("stdio_handler = \"file\"\n"), 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chown(config, launcherUser, launcherUser), os.Chown(d.private, launcherUser, launcherUser), d.writeUsers())
}

// writeUsers writes the list of users that libvirtd gets to see: the machine's own and the launcher's, since session mode refuses a
// user that has no entry.
func (d *daemon) writeUsers() error {
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	users = fmt.Appendf(users, "launcher:x:%d:%d::%s:/bin/false\n", launcherUser, launcherUser, d.private)
	return os.WriteFile(d.users(), users, 0o644)
}

func (d *daemon) users() string { return filepath.Join(d.private, "passwd") }

// become runs a program as the launcher's user, in a mount namespace of its own in which /etc/passwd is the file $0. LISTEN_PID must
// be the pid of the program itself, which only the process that becomes it knows.
const become = `mount --make-rprivate / && mount --bind "$0" /etc/passwd &&
exec setpriv --reuid=$1 --regid=$1 --groups="$2" /bin/sh -c 'LISTEN_PID=$$ exec "$0" "$@"' "$3" --timeout "$4"`

func (d *daemon) spawn(path string, listener *os.File, groups []uint32) (err error) {
	if d.private, err = os.MkdirTemp("", "guest-"); err != nil {
		return fmt.Errorf("creating libvirtd's private directory: %w", err)
	}
	if err := d.configure(); err != nil {
		return fmt.Errorf("giving libvirtd its private directory: %w", err)
	}
	all := strconv.Itoa(launcherUser)
	for _, group := range groups {
		all += "," + strconv.FormatUint(uint64(group), 10)
	}
	d.cmd = exec.Command("/bin/sh", "-c", become, d.users(), strconv.Itoa(launcherUser), all, path, strconv.Itoa(int(idleExit.Seconds())))
	d.cmd.Dir = d.private
	d.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LISTEN_FDS=1", "LISTEN_FDNAMES=libvirtd.socket",
		"HOME=" + d.private, "XDG_RUNTIME_DIR=" + d.private, "XDG_CONFIG_HOME=" + d.private, "XDG_CACHE_HOME=" + d.private,
	}
	d.cmd.ExtraFiles = []*os.File{listener}
	d.cmd.Stdout, d.cmd.Stderr = d.output, d.output
	d.cmd.WaitDelay = stopGrace // should a child of libvirtd keep its output open
	// A session of its own: Ctrl-C at the terminal must reach whoever will call Stop, not libvirtd.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: syscall.CLONE_NEWNS}
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("starting libvirtd: %w", err)
	}
	go func() {
		defer close(d.exited)
		// How it ended is in its output, which connect and stop report where it matters.
		_ = d.cmd.Wait()
	}()
	return nil
}

// connect opens the connection that is held. libvirtd answers as soon as it is ready: the socket listens
// from the start.
func (d *daemon) connect(ctx context.Context, uri libvirt.ConnectURI) error {
	var conn net.Conn
	err := within(filepath.Dir(d.socket), func(dir string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, SocketName))
		return err
	})
	if err != nil {
		return fmt.Errorf("connecting to libvirtd: %w", err)
	}
	d.libvirt = libvirt.NewWithDialer(dialers.NewAlreadyConnected(conn))
	opened := make(chan error, 1)
	go func() { opened <- d.libvirt.ConnectToURI(uri) }()
	select {
	case err = <-opened:
	case <-d.exited:
		err = errors.New("libvirtd ended at once")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("opening %s: %w", uri, err)
	}
	return nil
}

// readPID reads a pid file that libvirtd or QEMU wrote below the private directory.
func (d *daemon) readPID(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(d.private, name))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// stop ends libvirtd and removes its files.
func (d *daemon) stop(ctx context.Context) error {
	d.stopOnce.Do(func() { d.stopErr = d.stopNow(ctx) })
	return d.stopErr
}

func (d *daemon) stopNow(ctx context.Context) error {
	var errs []error
	// Until Wait has returned the pid is libvirtd's, so these signals cannot hit a stranger.
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, fmt.Errorf("ending libvirtd: %w", err))
	}
	grace, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	select {
	case <-d.exited:
	case <-grace.Done():
		errs = append(errs, d.cmd.Process.Kill())
		<-d.exited
	}
	return errors.Join(append(errs, d.cleanUp())...)
}

func (d *daemon) cleanUp() error {
	var errs []error
	if err := os.Remove(d.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	if d.private != "" {
		errs = append(errs, os.RemoveAll(d.private))
	}
	return errors.Join(errs...)
}
