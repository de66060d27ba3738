// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

// Limits of the server. Anybody in the cluster may connect where no NetworkPolicy forbids it, and the agent has little
// memory: what a request, a connection and all of them together may take is bounded.
const (
	requestTimeout  = 5 * time.Second  // for reading a request
	replyTimeout    = 10 * time.Second // from a request's header to the end of the reply
	idleTimeout     = 2 * time.Minute  // between two requests; Prometheus asks every minute by default
	shutdownTimeout = 2 * time.Second  // for requests that are being answered when the agent ends
	maxHeader       = 8 << 10          // bytes
	maxConnections  = 64
	maxScrapes      = 4 // at one time; each collects all metrics first
)

// server is the agent's HTTP endpoint: /healthz, /readyz and /metrics.
type server struct {
	address string
	handler http.Handler
}

// newServer gives a server that listens nowhere if address is empty. The agent is ready while vital gives no error.
func newServer(address string, vital func() error) *server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := vital()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		reply(w, "ok")
	})
	mux.Handle("GET /metrics", atMost(maxScrapes, legacyregistry.Handler()))
	return &server{address: address, handler: mux}
}

// atMost answers so many requests at one time, and refuses more.
func atMost(n int, handler http.Handler) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			handler.ServeHTTP(w, r)
		default:
			http.Error(w, fmt.Sprintf("%d requests are being answered already; try again later", n), http.StatusServiceUnavailable)
		}
	})
}

func reply(w http.ResponseWriter, text string) {
	// The client may have gone.
	_, _ = fmt.Fprintln(w, text)
}

// Run serves until ctx ends.
func (s *server) Run(ctx context.Context) error {
	if s.address == "" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("serving (see serving.address in the configuration): %w", err)
	}
	return s.serve(ctx, listener)
}

func (s *server) serve(ctx context.Context, listener net.Listener) error {
	klog.FromContext(ctx).Info("serving", "address", listener.Addr().String())
	server := &http.Server{
		Handler:        s.handler,
		ReadTimeout:    requestTimeout,
		WriteTimeout:   replyTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		ConnState:      newConnections(maxConnections).changed,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(shutdown); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping to serve: %w", err)
	}
	return nil
}
