// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

// The frame of libvirt's RPC (libvirt docs/kbase/internals/rpc.html and src/rpc/virnetprotocol.x, 9.0): the
// length of the whole frame, then six words, then the payload; all words big-endian.
const (
	headerSize = 28

	remoteProgram = 0x20008086

	typeReply   = 1
	typeMessage = 2
	statusOK    = 0
	statusError = 1
)

const (
	// maxEvent bounds an event, which is not kept.
	maxEvent = 64 << 10
	// Events beyond eventBurst are read at eventsPerSecond, so that a guest that sends them without end costs little.
	eventBurst      = 1000
	eventsPerSecond = 20
	// answerTime is how long a guest may take to send an answer that it has begun, while it holds a part of the node's
	// budget.
	answerTime = time.Second
	// shortestLife is how long a connection lasts at least before its end is told. A guest that hangs up at once is
	// looked at again no sooner.
	shortestLife = time.Second
)

// frames stands between the socket and go-libvirt, which trusts lengths and counts, panics on some answers and waits
// for ever after a second answer to one call. It passes on the answer to the call that waits, once it is checked.
// Events are not passed on but told on changed: their content is not used, and go-libvirt cannot decode all of them.
// The first malformed frame ends the connection.
type frames struct {
	net.Conn
	budget  *budget
	threads int // that the guest may have
	changed chan struct{}
	events  atomic.Uint64 // told so far
	pace    flowcontrol.RateLimiter

	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	began  time.Time
	lost   sync.Once

	// Only the reading goroutine, which is go-libvirt's, uses these.
	pending []byte // the rest of the frame that is being passed on
	err     error

	unsent int // bytes of the frame that is being sent; the sending goroutine's only

	mu     sync.Mutex
	waits  *header // the call that waits for its answer, nil while none does
	held   int64   // of the node's budget
	broken error   // what was wrong with an answer
}

func newFrames(conn net.Conn, shared *budget, threads int) *frames {
	f := &frames{
		Conn: conn, budget: shared, threads: threads, began: time.Now(), changed: make(chan struct{}, 1),
		pace: flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventBurst),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// header is what precedes the payload of a frame.
type header struct {
	length, program, procedure, kind, serial, status uint32
}

func headerOf(frame []byte) header {
	word := func(i int) uint32 { return binary.BigEndian.Uint32(frame[4*i:]) }
	return header{length: word(0), program: word(1), procedure: word(3), kind: word(4), serial: word(5), status: word(6)}
}

// Close ends the connection. It may be called again.
func (f *frames) Close() error {
	f.cancel()
	f.release()
	return f.Conn.Close()
}

// Write sends a part of a call. go-libvirt writes one call at a time, and its header at once.
func (f *frames) Write(p []byte) (int, error) {
	if f.unsent <= 0 {
		if len(p) < headerSize {
			return 0, fmt.Errorf("sending a call: its first %d bytes are no whole header", len(p))
		}
		h := headerOf(p)
		f.unsent = int(h.length)
		f.release() // the last call's answer is not used any more
		f.mu.Lock()
		f.waits = &h
		f.mu.Unlock()
	}
	f.unsent -= len(p)
	return f.Conn.Write(p)
}

// Read gives go-libvirt the next bytes of an answer. After an error, changed is closed.
func (f *frames) Read(p []byte) (int, error) {
	for len(f.pending) == 0 && f.err == nil {
		f.pending, f.err = f.next()
	}
	if f.err != nil {
		f.lost.Do(f.end)
		return 0, f.err
	}
	n := copy(p, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

func (f *frames) end() {
	f.release()
	time.AfterFunc(shortestLife-time.Since(f.began), func() { close(f.changed) })
}

// next reads one frame and returns it if it is to be passed on, else nothing.
func (f *frames) next() ([]byte, error) {
	var raw [headerSize]byte
	if _, err := io.ReadFull(f.Conn, raw[:]); err != nil {
		return nil, err
	}
	h := headerOf(raw[:])
	if h.length < headerSize {
		return nil, f.malformed(fmt.Errorf("libvirt sent a frame of %d bytes, and a header has %d", h.length, headerSize))
	}
	if h.kind != typeReply {
		return nil, f.skip(h)
	}
	expected, err := f.expected(h)
	if err != nil {
		return nil, f.malformed(err)
	}
	frame, err := f.read(h, raw[:])
	if err != nil {
		return nil, err
	}
	if err := expected.check(frame[headerSize:]); err != nil {
		return nil, f.malformed(fmt.Errorf("libvirt's answer to procedure %d is malformed: %w", h.procedure, err))
	}
	return expected.trimmed(frame), nil
}

// expected is the form of the answer to the call that waits.
func (f *frames) expected(h header) (answer, error) {
	f.mu.Lock()
	call := f.waits
	f.waits = nil
	f.mu.Unlock()
	if call == nil || h.program != call.program || h.procedure != call.procedure || h.serial != call.serial {
		return answer{}, fmt.Errorf("libvirt answered procedure %d, which was not called", h.procedure)
	}
	expected, called := answers[h.procedure]
	switch {
	case !called:
		return answer{}, fmt.Errorf("the answer to procedure %d is not known", h.procedure)
	case h.status == statusError:
		expected = refusal
	case h.status != statusOK:
		return answer{}, fmt.Errorf("libvirt answered procedure %d with unknown status %d", h.procedure, h.status)
	}
	limit := expected.size + expected.perThread*f.threads
	if size := int64(h.length) - headerSize; size > int64(limit) {
		return answer{}, fmt.Errorf("libvirt answered procedure %d with %d bytes, and at most %d are read", h.procedure, size, limit)
	}
	return expected, nil
}

// read reads the rest of an answer. A long one waits for its part of the node's budget.
func (f *frames) read(h header, begun []byte) ([]byte, error) {
	if h.length > shortAnswer {
		if err := f.hold(int64(h.length)); err != nil {
			return nil, err
		}
		if err := f.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
			return nil, err
		}
	}
	frame := make([]byte, h.length)
	copy(frame, begun)
	if _, err := io.ReadFull(f.Conn, frame[headerSize:]); err != nil {
		return nil, err
	}
	return frame, f.SetReadDeadline(time.Time{})
}

// skip reads over a frame that nobody waits for: an event, or one of another program, such as keepalive.
func (f *frames) skip(h header) error {
	if h.length > maxEvent {
		return f.malformed(fmt.Errorf("libvirt sent an event of %d bytes, and at most %d are read", h.length, maxEvent))
	}
	if _, err := io.CopyN(io.Discard, f.Conn, int64(h.length-headerSize)); err != nil {
		return err
	}
	if h.program == remoteProgram && h.kind == typeMessage {
		f.events.Add(1)
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
	return f.pace.Wait(f.ctx)
}

// hold takes a part of the node's budget until release.
func (f *frames) hold(size int64) error {
	if size > nodeAnswers {
		return f.malformed(fmt.Errorf("libvirt's answer has %d bytes, and at most %d are read of all guests together", size, nodeAnswers))
	}
	if err := f.budget.answers.Acquire(f.ctx, size); err != nil {
		return errors.Join(net.ErrClosed, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held += size
	if f.ctx.Err() != nil { // closed meanwhile, so nobody releases it
		f.budget.answers.Release(f.held)
		f.held = 0
		return net.ErrClosed
	}
	return nil
}

// release gives back what is held of the node's budget, once the answer is not used any more.
func (f *frames) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held > 0 {
		f.budget.answers.Release(f.held)
		f.held = 0
	}
}

// malformed keeps what was wrong with an answer, since go-libvirt tells its caller only that the connection ended.
func (f *frames) malformed(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
	return err
}

// cause is what was wrong with an answer, nil where nothing was.
func (f *frames) cause() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}
