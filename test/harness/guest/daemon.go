// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// daemon is one libvirtd, with a connection that is held open as long as it lives.
type daemon struct {
	*Server
	libvirt *libvirt.Libvirt
}

// startDaemon starts a libvirtd whose socket is socketDir/SocketName and connects to uri in it.
func startDaemon(ctx context.Context, socketDir string, uri libvirt.ConnectURI, groups []uint32) (*daemon, error) {
	server, err := NewServer(ServerOptions{SocketDir: socketDir, Groups: groups})
	if err != nil {
		return nil, err
	}
	d := &daemon{Server: server}
	err = server.Start()
	if err == nil {
		err = d.connect(ctx, uri)
	}
	if err != nil {
		output := server.Output()
		err = errors.Join(err, server.Stop(ctx))
		return nil, fmt.Errorf("%w; libvirtd said:\n%s", err, output)
	}
	return d, nil
}

// connect opens the connection that is held.
func (d *daemon) connect(ctx context.Context, uri libvirt.ConnectURI) error {
	var conn net.Conn
	err := within(filepath.Dir(d.Socket()), func(dir string) (err error) {
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
	case <-d.Exited():
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
