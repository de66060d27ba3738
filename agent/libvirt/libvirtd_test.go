// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/test/harness/bounds"
	"corepin.dev/corepin/test/harness/guest"
)

// libvirtd is a real libvirtd in session mode, private to a test, with launcher pods' directories that have
// its socket.
type libvirtd struct {
	*guest.Server
	uri, socket string
	// kubelet is the kubelet's root directory, whose name is as long as it takes to make the sockets' paths too
	// long for a unix address.
	kubelet string

	rpc *golibvirt.Libvirt // the test's own connection, as another client would have one
}

// require skips the test where something it needs is missing, or fails it where nothing may be.
func require(t testing.TB, ok bool, missing string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
		t.Fatalf("%s, and COREPIN_REQUIRE_ALL=1 does not allow to skip", missing)
	}
	t.Skipf("SKIPPED: %s", missing)
}

// startLibvirtd starts one and connects to uri in it, with a launcher pod for VM db. All end with the test.
func startLibvirtd(t testing.TB, uri string) *libvirtd {
	t.Helper()
	l := newLibvirtd(t, uri, "")
	l.start(t)
	l.link(t, "db")
	return l
}

// newLibvirtd prepares one, which ends with the test. It believes to be on the host of that name, "" for this one.
func newLibvirtd(t testing.TB, uri, host string) *libvirtd {
	t.Helper()
	require(t, os.Geteuid() == 0, "starting a libvirtd of another user needs root")
	_, err := exec.LookPath("libvirtd")
	require(t, err == nil, "libvirtd is not installed (Debian: apt-get install libvirt-daemon)")

	// Not t.TempDir(): its path is too long for a socket, and closed to other users.
	dir, err := os.MkdirTemp("", "lv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := guest.NewServer(guest.ServerOptions{SocketDir: dir, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("libvirtd wrote:\n%s", server.Output())
		}
		// Its guests have been stopped, or are of no interest any more.
		if err := errors.Join(server.Kill(), server.Stop(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return &libvirtd{Server: server, uri: uri, socket: server.Socket(), kubelet: filepath.Join(dir, "a-kubelet-root-directory-with-a-long-name")}
}

// start starts the process and connects to it.
func (l *libvirtd) start(t testing.TB) {
	t.Helper()
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	l.rpc = golibvirt.NewWithDialer(dialTo(l.socket))
	if err := l.rpc.ConnectToURI(golibvirt.ConnectURI(l.uri)); err != nil {
		t.Fatalf("connecting to %s: %v", l.uri, err)
	}
	// A connection that ends before its first call is a data race in go-libvirt, between its end and ConnectToURI's. The agent
	// always makes a call, and does not use what go-libvirt then tells.
	if _, err := l.rpc.ConnectGetLibVersion(); err != nil {
		t.Fatal(err)
	}
}

// kill kills libvirtd with SIGKILL. Its guests go on.
func (l *libvirtd) kill(t testing.TB) {
	t.Helper()
	if err := l.Kill(); err != nil {
		t.Fatal(err)
	}
}

// restart kills libvirtd and starts it again, as a launcher pod does with its own.
func (l *libvirtd) restart(t testing.TB) {
	t.Helper()
	l.kill(t)
	l.start(t)
}

// podDir is the directory of a VM's launcher pod.
func (l *libvirtd) podDir(vm string) string {
	return filepath.Join(l.kubelet, "pods", string(podUID(vm)))
}

// link puts libvirtd's socket where the launcher pod of a VM has it, as a hard link: a symbolic one would
// lead out of the pod.
func (l *libvirtd) link(t testing.TB, vm string) {
	t.Helper()
	path := socketPath(t, l.podDir(vm))
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.Link(l.socket, path); err != nil {
		t.Fatal(err)
	}
}

type dialTo string

func (path dialTo) Dial() (net.Conn, error) { return net.Dial("unix", string(path)) }

// create starts a domain that is destroyed with the test.
func (l *libvirtd) create(t testing.TB, xml string) golibvirt.Domain {
	t.Helper()
	var dom golibvirt.Domain
	await(t, "the name of a domain that has ended", func() (err error) {
		dom, err = l.rpc.DomainCreateXML(xml, 0)
		// libvirt finds such a domain by its name no more, and keeps the name for a moment longer.
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatalf("creating a domain: %v", err)
		}
		return err
	})
	t.Cleanup(func() { _ = l.rpc.DomainDestroy(dom) })
	return dom
}

// crowd starts an unrelated domain beside the test driver's own. It is for a libvirtd that serves many pods: the only
// domain in a libvirt would be taken for the pod's, whatever its name.
func (l *libvirtd) crowd(t testing.TB) {
	t.Helper()
	l.create(t, testDomain("nobodys"))
}

// connect connects as the agent does.
func (l *libvirtd) connect(t *testing.T, uri string) pinning.Connection {
	t.Helper()
	c, err := New(config.Pinning{LibvirtURI: uri}).Connect(shortly(t), pinning.Place{PodDir: l.podDir("db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// testDomain is the XML of a guest of libvirt's test driver.
func testDomain(name string) string {
	return fmt.Sprintf(`<domain type="test"><name>%s</name><memory unit="MiB">64</memory>
		<vcpu current="4">6</vcpu><iothreads>2</iothreads><os><type>hvm</type></os>
		<cpu><topology sockets="3" cores="1" threads="2"/></cpu></domain>`, name)
}

// shortly is a context that ends before the test's patience does.
func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// await polls until f succeeds, and fails with its last error.
func await(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.After(bounds.Instrumented(time.Minute))
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waiting for %s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (l *libvirtd) domain(t *testing.T, name string) golibvirt.Domain {
	t.Helper()
	dom, err := l.rpc.DomainLookupByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return dom
}

// listen has something else than a libvirtd at a pod's socket; it calls serve for each connection and
// keeps it open until the test ends. With a nil serve it never even answers.
func listen(t testing.TB, podDir string, serve func(net.Conn)) *net.UnixListener {
	t.Helper()
	// Bound under a short name first, since the path may be too long to bind to.
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	bound := filepath.Join(short, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	if err := os.Link(bound, socketPath(t, podDir)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			if serve != nil {
				serve(conn)
			}
		}
	}()
	return listener
}

// socketPath makes the directory of a pod's socket and returns the socket's path.
func socketPath(t testing.TB, podDir string) string {
	t.Helper()
	dir := filepath.Join(podDir, runtimeDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "libvirt-sock")
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
