// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
)

// recording is a conversation of this package with the libvirtd 9.0 of Debian 12 and QEMU 7.2. It is written by
// `COREPIN_RECORD=1 go test -run TestRecord`. Each frame is a line in hexadecimal: "> " is what the agent sent, "< "
// what libvirtd answered. With it the RPC edge is tested where there is no libvirt.
const recording = "testdata/qemu.conversation"

// converse is what is recorded: connect, read the guest, pin each kind of thread, read it back.
func converse(t *testing.T, podDir string) (before, after *pinning.Guest) {
	t.Helper()
	c, err := New(config.Pinning{LibvirtURI: "qemu:///session"}).Connect(shortly(t), pinning.Place{PodDir: podDir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if before, err = c.Guest(shortly(t), "vms_db"); err != nil {
		t.Fatal(err)
	}
	for _, thread := range []pinning.Thread{{Kind: pinning.Emulator}, {Kind: pinning.IOThread, ID: 1}, {Kind: pinning.VCPU}} {
		if err := c.Pin(shortly(t), before, thread, cpuset.Of(1)); err != nil {
			t.Fatal(err)
		}
	}
	if after, err = c.Guest(shortly(t), "vms_db"); err != nil {
		t.Fatal(err)
	}
	return before, after
}

func TestRecordedConversation(t *testing.T) {
	text, err := os.ReadFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	podDir := t.TempDir()
	var once sync.Once
	played := make(chan error, 1)
	listen(t, podDir, func(conn net.Conn) { once.Do(func() { go func() { played <- play(conn, string(text)) }() }) })
	before, after := converse(t, podDir)
	any, one := cpuset.Of(0, 1), cpuset.Of(1)
	for _, tc := range []struct {
		name             string
		got              *pinning.Guest
		pinned, affinity cpuset.Set
	}{{"before", before, cpuset.Set{}, any}, {"after", after, one, one}} {
		want := fmt.Sprint([]pinning.GuestThread{{ID: 0, Pinned: tc.pinned, Affinity: tc.affinity}}, []pinning.GuestThread{{ID: 1, Pinned: tc.pinned, Affinity: tc.affinity}}, tc.pinned)
		if got := fmt.Sprint(tc.got.VCPUs, tc.got.IOThreads, tc.got.Emulator); got != want || tc.got.Domain != "vms_db" {
			t.Errorf("%s: %+v, want threads %s", tc.name, tc.got, want)
		}
	}
	if err := <-played; err != nil {
		t.Error(err)
	}
}

// play is the libvirtd of a recording: it wants every frame that was sent then, in that order, and answers with what
// was answered then.
func play(conn net.Conn, text string) error {
	for number, line := range strings.Split(strings.TrimSpace(text), "\n") {
		frame, err := hex.DecodeString(line[2:])
		if err != nil {
			return fmt.Errorf("line %d: %w", number+1, err)
		}
		if line[0] == '<' {
			if _, err := conn.Write(frame); err != nil {
				return fmt.Errorf("line %d: %w", number+1, err)
			}
			continue
		}
		got, err := readFrame(conn)
		if err != nil || !bytes.Equal(got, frame) {
			return fmt.Errorf("line %d: the agent sent %x (%v), want %x", number+1, got, err, frame)
		}
	}
	return nil
}

func readFrame(from io.Reader) ([]byte, error) {
	length := make([]byte, 4)
	if _, err := io.ReadFull(from, length); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(length))
	copy(frame, length)
	_, err := io.ReadFull(from, frame[4:])
	return frame, err
}

// TestRecord takes the recording down.
func TestRecord(t *testing.T) {
	if os.Getenv("COREPIN_RECORD") != "1" {
		t.Skip("takes down testdata/qemu.conversation, with COREPIN_RECORD=1")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	require(t, err == nil, "qemu-system-x86_64 is not installed (Debian: apt-get install qemu-system-x86)")
	l := startLibvirtd(t, "qemu:///session")
	l.create(t, fmt.Sprintf(qemuDomain, qemu))
	podDir := t.TempDir()
	var mu sync.Mutex
	var lines []string
	var copying sync.WaitGroup
	listen(t, podDir, func(agent net.Conn) {
		server, err := net.Dial("unix", l.socket)
		if err != nil {
			t.Error(err)
			return
		}
		relay := func(mark string, from io.Reader, to io.Writer) {
			for {
				frame, err := readFrame(from)
				if err != nil {
					return
				}
				mu.Lock()
				lines = append(lines, mark+hex.EncodeToString(frame))
				mu.Unlock()
				if _, err := to.Write(frame); err != nil {
					return
				}
			}
		}
		copying.Go(func() { relay("> ", agent, server); server.Close() })
		copying.Go(func() { relay("< ", server, agent) })
	})
	converse(t, podDir)
	copying.Wait()
	if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(recording, []byte(strings.Join(lines, "\n")+"\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
}
