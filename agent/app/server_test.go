// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serving is a server that serves until the test ends, by its address.
func serving(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newServer("", func() error { return nil }).serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// alive reports whether the server keeps a connection that nothing was sent on.
func alive(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Whoever opens connections without end keeps neither the agent's memory nor the kubelet's probes from it.
func TestIdleConnectionsAreBounded(t *testing.T) {
	address := serving(t)
	var all []net.Conn
	for i := range 500 {
		conn := dial(t, address)
		all = append(all, conn)
		if i%2 == 0 {
			continue // it has sent nothing
		}
		if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + "/healthz")
	if err != nil {
		t.Fatalf("the kubelet's probe beside 500 connections: %v", err)
	}
	_ = response.Body.Close()
	kept := 0
	for i, conn := range all {
		if i%2 == 1 {
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, _ = io.CopyN(io.Discard, conn, 1<<20)
		}
		if alive(conn) {
			kept++
		}
	}
	if kept > maxConnections {
		t.Errorf("%d idle connections are kept, want at most %d", kept, maxConnections)
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	conn := dial(t, serving(t))
	go func() {
		_, _ = fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n", strings.Repeat("x", 1<<20))
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 1 MiB: %s", response.Status)
	}
}

func TestRequestsThatTakeTooLongEnd(t *testing.T) {
	conn := dial(t, serving(t))
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_ = conn.SetReadDeadline(start.Add(3 * requestTimeout))
	_, _ = io.Copy(io.Discard, conn)
	if took := time.Since(start); took > 2*requestTimeout {
		t.Errorf("half a request was waited for %s, want about %s", took, requestTimeout)
	}
}

// Each scrape collects all metrics in memory, so few are answered at one time.
func TestScrapesAreBounded(t *testing.T) {
	release := make(chan struct{})
	began := make(chan struct{})
	handler := atMost(2, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-release
	}))
	get := func() int {
		r := httptest.NewRecorder()
		handler.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		return r.Code
	}
	done := make(chan int)
	for range 2 {
		go func() { done <- get() }()
		<-began
	}
	if code := get(); code != http.StatusServiceUnavailable {
		t.Errorf("a third scrape: %d", code)
	}
	close(release)
	for range 2 {
		if code := <-done; code != http.StatusOK {
			t.Errorf("a scrape: %d", code)
		}
	}
}
