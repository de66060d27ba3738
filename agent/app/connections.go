// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// connections bounds the open connections of a server. It closes the one that has waited longest rather than refuse a
// new one: the kubelet's probes come by new connections, and whoever holds idle ones must not keep them out.
type connections struct {
	limit int

	mu   sync.Mutex
	open map[net.Conn]waiting
}

// waiting is since when a connection has had no request; zero while it has one.
type waiting struct{ since time.Time }

func newConnections(limit int) *connections {
	return &connections{limit: limit, open: map[net.Conn]waiting{}}
}

// changed is for http.Server.ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open[conn] = waiting{time.Now()}
		if len(c.open) > c.limit {
			c.close(conn)
		}
	case http.StateIdle:
		c.open[conn] = waiting{time.Now()}
	case http.StateActive:
		c.open[conn] = waiting{}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// close closes the connection that has waited longest, and the newest where no other waits.
func (c *connections) close(newest net.Conn) {
	oldest := newest
	for conn, w := range c.open {
		if conn != newest && !w.since.IsZero() && w.since.Before(c.open[oldest].since) {
			oldest = conn
		}
	}
	delete(c.open, oldest)
	_ = oldest.Close()
}
