package libvirt

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// The frame of libvirt's RPC (libvirt docs/kbase/internals/rpc.html and src/rpc/virnetprotocol.x, 9.0): the
// length of the whole frame, then six words, then the payload; all words big-endian.
const (
	headerSize = 28
	// maxFrame is well above the largest answer asked for here, a domain's XML (libvirt's own limit for
	// a string is 4 MiB), and well below libvirt's 32 MiB.
	maxFrame = 8 << 20

	remoteProgram = 0x20008086

	typeReply   = 1
	typeMessage = 2
	statusOK    = 0
)

// arrayReplies are the procedures called here whose answer begins with an array, with the least number of
// bytes of one element (src/remote/remote_protocol.x).
var arrayReplies = map[uint32]uint32{
	20:  20, // DOMAIN_GET_VCPUS: remote_vcpu_info
	66:  4,  // AUTH_LIST: remote_auth_type
	273: 24, // CONNECT_LIST_ALL_DOMAINS: remote_nonnull_domain
	351: 8,  // DOMAIN_GET_IOTHREAD_INFO: remote_domain_iothread_info
}

// frames stands between the socket and go-libvirt. It lets through only the answers that go-libvirt can
// take: well-formed ones, in the order of the calls, each once (on a second answer to one call it waits
// for ever). Events are not passed on but told on changed: their content is of no use here, and go-libvirt
// cannot decode all of them. The first malformed frame ends the connection.
type frames struct {
	net.Conn
	changed chan struct{}
	events  atomic.Uint64 // told so far

	// Only the reading goroutine, which is go-libvirt's, uses these.
	pending []byte // the rest of the frame that is being passed on
	serial  uint32 // of the last answer passed on
	err     error

	lost sync.Once
}

func newFrames(conn net.Conn) *frames {
	return &frames{Conn: conn, changed: make(chan struct{}, 1)}
}

// Read gives go-libvirt the next bytes of an answer. After an error, changed is closed.
func (f *frames) Read(p []byte) (int, error) {
	for len(f.pending) == 0 && f.err == nil {
		f.pending, f.err = f.next()
	}
	if f.err != nil {
		f.lost.Do(func() { close(f.changed) })
		return 0, f.err
	}
	n := copy(p, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

// next reads one frame and returns it if it is to be passed on, else nothing.
func (f *frames) next() ([]byte, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(f.Conn, header); err != nil {
		return nil, err
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(header[4*i:]) }
	length, program, procedure, kind, serial, status := word(0), word(1), word(3), word(4), word(5), word(6)
	if length < headerSize || length > maxFrame {
		return nil, fmt.Errorf("libvirt sent a frame of %d bytes, want %d to %d", length, headerSize, maxFrame)
	}
	frame := make([]byte, length)
	copy(frame, header)
	payload := frame[headerSize:]
	if _, err := io.ReadFull(f.Conn, payload); err != nil {
		return nil, err
	}
	if program == remoteProgram && kind == typeMessage {
		f.events.Add(1)
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
	if program != remoteProgram || kind != typeReply || serial <= f.serial {
		return nil, nil
	}
	f.serial = serial
	if size, isArray := arrayReplies[procedure]; isArray && status == statusOK {
		if len(payload) < 4 || uint64(binary.BigEndian.Uint32(payload))*uint64(size) > uint64(len(payload)) {
			return nil, fmt.Errorf("libvirt answered procedure %d with an array that is longer than the answer", procedure)
		}
	}
	return frame, nil
}
