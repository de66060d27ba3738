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

// Time limits of the server: for a request's header, and for requests under way at the end.
const (
	headerTimeout   = 5 * time.Second
	shutdownTimeout = 2 * time.Second
)

// server is the agent's HTTP endpoint: /healthz, /readyz and /metrics.
type server struct {
	address string
	handler http.Handler
}

// newServer gives a server that listens nowhere if address is empty. The agent is ready once its report is
// at the API server.
func newServer(address string, published func() bool) *server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !published() {
			http.Error(w, "the report of this node is not published yet; the agent's log says why", http.StatusServiceUnavailable)
			return
		}
		reply(w, "ok")
	})
	mux.Handle("GET /metrics", legacyregistry.Handler())
	return &server{address: address, handler: mux}
}

func reply(w http.ResponseWriter, text string) {
	// A client that is gone by now is no concern of ours.
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
	klog.FromContext(ctx).Info("serving", "address", listener.Addr().String())
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: headerTimeout}
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
