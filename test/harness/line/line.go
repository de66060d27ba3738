// SPDX-License-Identifier: Apache-2.0

// Package line is the network between one client and one server: it can be cut so that packets are swallowed, and it counts
// what passes.
package line

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Line passes connections on. The zero value is one that nobody uses yet.
type Line struct {
	bytes    atomic.Int64
	mu       sync.Mutex
	passing  *sync.Cond
	isCut    bool
	closed   bool
	listener net.Listener
}

// Route gives a kubeconfig whose user takes this way to the server of another one. It may be called once.
func (l *Line) Route(kubeconfig string) (string, error) {
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		return "", fmt.Errorf("routing a client: %w", err)
	}
	_, after, _ := strings.Cut(string(text), "server: ")
	address, _, _ := strings.Cut(after, "\n")
	server, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return "", fmt.Errorf("routing a client by %s: %w", kubeconfig, err)
	}
	l.passing = sync.NewCond(&l.mu)
	l.listener, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("routing a client: %w", err)
	}
	go l.accept(server.Host)
	routed := filepath.Join(filepath.Dir(kubeconfig), "routed-"+filepath.Base(kubeconfig))
	return routed, os.WriteFile(routed, []byte(strings.ReplaceAll(string(text), server.Host, l.listener.Addr().String())), 0o600)
}

func (l *Line) accept(to string) {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", to)
		if err != nil {
			_ = near.Close()
			continue
		}
		go l.pass(far, near)
		go l.pass(near, far)
	}
}

// pass copies what comes while it may.
func (l *Line) pass(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.bytes.Add(int64(n))
		l.mu.Lock()
		for l.isCut && !l.closed {
			l.passing.Wait()
		}
		l.mu.Unlock()
		if n > 0 {
			if _, writeErr := to.Write(buffer[:n]); writeErr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Cut cuts the line, or mends it. While it is cut nothing passes, and no connection is closed.
func (l *Line) Cut(isCut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = isCut
	l.passing.Broadcast()
}

// Bytes is the number of bytes that have come from either side.
func (l *Line) Bytes() int64 { return l.bytes.Load() }

// Close ends the line.
func (l *Line) Close() {
	l.mu.Lock()
	l.closed = true
	l.passing.Broadcast()
	l.mu.Unlock()
	_ = l.listener.Close()
}
