// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"corepin.dev/corepin/test/harness/cluster"
)

// front stands before the API server: everybody but the admin and the controllers reaches it through here, so that
// connections, and with them watch streams, can be cut and slowed.
type front struct {
	listener net.Listener
	server   string
	delay    atomic.Int64 // nanoseconds for each chunk of bytes

	mu   sync.Mutex
	open map[net.Conn]bool
}

func (f *front) listen(server string) (string, error) {
	addresses, err := cluster.FreeAddresses(1)
	if err != nil {
		return "", err
	}
	f.server = server
	f.open = map[net.Conn]bool{}
	if f.listener, err = net.Listen("tcp", addresses[0]); err != nil {
		return "", fmt.Errorf("listening before the API server: %w", err)
	}
	go f.serve()
	return addresses[0], nil
}

func (f *front) serve() {
	for {
		near, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		go f.forward(near)
	}
}

func (f *front) forward(near net.Conn) {
	far, err := net.DialTimeout("tcp", f.server, 5*time.Second)
	if err != nil {
		_ = near.Close() // as where nobody listens
		return
	}
	f.note(near, far)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], slowReader{way[1], &f.delay}) // ends with either connection
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, near)
	delete(f.open, far)
}

func (f *front) note(connections ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, connection := range connections {
		f.open[connection] = true
	}
}

// cut closes every connection that is open.
func (f *front) cut() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for connection := range f.open {
		_ = connection.Close()
	}
	return len(f.open) / 2
}

// slow delays each chunk of bytes; 0 is as fast as it goes.
func (f *front) slow(delay time.Duration) { f.delay.Store(int64(delay)) }

func (f *front) close() {
	if f.listener != nil {
		_ = f.listener.Close()
		f.cut()
	}
}

type slowReader struct {
	from  io.Reader
	delay *atomic.Int64
}

// Read reads, and gives what it has read later.
func (r slowReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if delay := time.Duration(r.delay.Load()); delay > 0 {
		<-time.After(delay)
	}
	return n, err
}
