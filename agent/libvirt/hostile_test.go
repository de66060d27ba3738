// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/pinning"
	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/bounds"
	"corepin.dev/corepin/test/harness/process"
)

// reply is what a libvirt answers to one call: the frame's header as it should be, unless it says otherwise.
type reply struct {
	payload   []byte
	status    uint32
	procedure uint32 // 0 for that which was called
	again     bool   // the answer is sent twice
	announced uint32 // the frame's length, where it is not the real one
}

// payloadOf gives big-endian words and texts, one after the other.
func payloadOf(parts ...any) []byte {
	var all []byte
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			all = binary.BigEndian.AppendUint32(all, uint32(part))
		case string:
			all = append(binary.BigEndian.AppendUint32(all, uint32(len(part))), part...)
			all = append(all, make([]byte, (4-len(part)%4)%4)...)
		case []byte:
			all = append(all, part...)
		}
	}
	return all
}

const smallXML = "<domain><vcpu>1</vcpu><iothreads>1</iothreads></domain>"

// honest are the answers of a libvirt with one running domain that has one vCPU and one IO thread.
func honest() map[uint32]reply {
	oneMap := string(make([]byte, mapLength))
	return map[uint32]reply{
		procAuthList:              {payload: payloadOf(0)},
		procEventRegisterAny:      {payload: payloadOf(1)},
		procConnectListAllDomains: {payload: payloadOf(1, "vms_db", make([]byte, 16), 1, 1)},
		procDomainGetState:        {payload: payloadOf(1, 1)},
		procDomainGetXMLDesc:      {payload: payloadOf(smallXML)},
		procDomainGetVcpus:        {payload: payloadOf(1, 0, 1, 0, 0, 0, oneMap)},
		procDomainGetIOThreadInfo: {payload: payloadOf(1, 1, "\x01", 1)},
		procDomainGetJobStats:     {payload: payloadOf(0, 2, "operation", 1, 0, "text", 7, "x")},
		procConnectGetAllStats:    {payload: payloadOf(1, "vms_db", make([]byte, 16), 1, 1, "vcpu.0.delay", 4, 0, 1)},
	}
}

// serve answers calls until the connection ends.
func serve(conn net.Conn, answer func(procedure uint32) reply) {
	for {
		call, err := readFrame(conn)
		if err != nil {
			return
		}
		h := headerOf(call)
		r := answer(h.procedure)
		frame := payloadOf(headerSize+len(r.payload), remoteProgram, 1, int(h.procedure), typeReply, int(h.serial), int(r.status), r.payload)
		if r.procedure != 0 {
			binary.BigEndian.PutUint32(frame[12:], r.procedure)
		}
		if r.announced != 0 {
			binary.BigEndian.PutUint32(frame, r.announced)
		}
		if r.again {
			frame = append(frame, frame...)
		}
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}

// lookAndPin does everything that is done with a libvirt.
func lookAndPin(ctx context.Context, podDir string) error {
	c, err := New(config.Pinning{}).Connect(ctx, pinning.Place{PodDir: podDir, CPUs: 2})
	if err != nil {
		return err
	}
	defer c.Close()
	guest, err := c.Guest(ctx, "vms_db")
	if err != nil {
		return err
	}
	if _, err := c.Waits(ctx, guest); err != nil {
		return err
	}
	for _, kind := range []pinning.ThreadKind{pinning.VCPU, pinning.IOThread, pinning.Emulator} {
		if err := c.Pin(ctx, guest, pinning.Thread{Kind: kind}, cpuset.Of(1)); err != nil {
			return err
		}
	}
	return nil
}

const huge = 0x18000000 // 400 MB, and 16 GB of some elements

// A libvirt is a guest's. A few bytes of it must not make the agent allocate: each length and each count is compared
// with what follows before anything is made of it.
func TestLengthsAreNotBelieved(t *testing.T) {
	for name, tc := range map[string]struct {
		procedure uint32
		reply     reply
		want      string
	}{
		"the length of the XML":             {procDomainGetXMLDesc, reply{payload: payloadOf(huge)}, "bytes where at most 262144 are read"},
		"a frame with much XML":             {procDomainGetXMLDesc, reply{payload: payloadOf(strings.Repeat(" ", maxXML+4))}, "at most 262148 are read"},
		"a frame that is not sent":          {procDomainGetXMLDesc, reply{announced: huge}, "at most 262148 are read"},
		"a number of authentications":       {procAuthList, reply{payload: payloadOf(huge)}, "greater than what follows"},
		"a number of domains":               {procConnectListAllDomains, reply{payload: payloadOf(huge)}, "greater than what follows"},
		"a domain's name":                   {procConnectListAllDomains, reply{payload: payloadOf(1, huge)}, "bytes where at most 512 are read"},
		"a number of vCPUs":                 {procDomainGetVcpus, reply{payload: payloadOf(huge)}, "greater than what follows"},
		"the vCPUs' CPU maps":               {procDomainGetVcpus, reply{payload: payloadOf(0, huge)}, "bytes where at most 4 are read"},
		"more vCPUs than there may be":      {procDomainGetVcpus, reply{payload: make([]byte, 70*perVCPU)}, "answered procedure 20 with"},
		"a number of IO threads":            {procDomainGetIOThreadInfo, reply{payload: payloadOf(huge)}, "greater than what follows"},
		"an IO thread's CPU map":            {procDomainGetIOThreadInfo, reply{payload: payloadOf(1, 1, huge)}, "bytes where at most 512 are read"},
		"a number of job statistics":        {procDomainGetJobStats, reply{payload: payloadOf(0, huge)}, "greater than what follows"},
		"a job statistic's name":            {procDomainGetJobStats, reply{payload: payloadOf(0, 1, huge)}, "bytes where at most 512 are read"},
		"a job statistic's text":            {procDomainGetJobStats, reply{payload: payloadOf(0, 1, "operation", 7, huge)}, "bytes where at most 8192 are read"},
		"a job statistic of no kind":        {procDomainGetJobStats, reply{payload: payloadOf(0, 1, "operation", 9)}, "unknown kind 9"},
		"a number of guests":                {procConnectGetAllStats, reply{payload: payloadOf(huge)}, "greater than what follows"},
		"a number of statistics":            {procConnectGetAllStats, reply{payload: payloadOf(1, "vms_db", make([]byte, 20), huge)}, "greater than what follows"},
		"a statistic's name":                {procConnectGetAllStats, reply{payload: payloadOf(1, "vms_db", make([]byte, 20), 1, huge)}, "bytes where at most 512 are read"},
		"more statistics than there may be": {procConnectGetAllStats, reply{payload: make([]byte, 70*perVCPUStats)}, "answered procedure 344 with"},
		"an error's message":                {procDomainGetState, reply{status: 1, payload: payloadOf(1, 0, 0, huge)}, "bytes where at most 8192 are read"},
		"an error that is none":             {procDomainGetJobStats, reply{status: 1, payload: payloadOf(0, huge, 0, 0)}, "an error with code 0"},
		"a status that there is not":        {procDomainGetState, reply{status: 2}, "unknown status 2"},
		"an answer that is cut off":         {procDomainGetState, reply{payload: payloadOf(1)}, "greater than what follows"},
		"an answer to what was not called":  {procDomainGetXMLDesc, reply{procedure: procDomainPinVcpu, payload: nil}, "answered procedure 26, which was not called"},
		"an answer as if to something else": {procDomainGetXMLDesc, reply{procedure: procAuthList, payload: payloadOf(0)}, "answered procedure 66, which was not called"},
		"a pin that is answered at length":  {procDomainPinVcpu, reply{payload: payloadOf(1)}, "at most 0 are read"},
	} {
		t.Run(name, func(t *testing.T) {
			podDir := t.TempDir()
			replies := honest()
			replies[tc.procedure] = tc.reply
			listen(t, podDir, func(conn net.Conn) { go serve(conn, func(p uint32) reply { return replies[p] }) })
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := lookAndPin(shortly(t), podDir)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 4<<20 {
				t.Errorf("allocated %d MiB", allocated>>20)
			}
		})
	}
}

func TestAnHonestLibvirt(t *testing.T) {
	podDir := t.TempDir()
	replies := honest()
	listen(t, podDir, func(conn net.Conn) { go serve(conn, func(p uint32) reply { return replies[p] }) })
	if err := lookAndPin(shortly(t), podDir); err != nil {
		t.Error(err)
	}
}

// A second answer to one call ends the connection; go-libvirt would wait for ever.
func TestASecondAnswerEndsTheConnection(t *testing.T) {
	podDir := t.TempDir()
	replies := honest()
	replies[procDomainGetState] = reply{payload: payloadOf(1, 1), again: true}
	listen(t, podDir, func(conn net.Conn) { go serve(conn, func(p uint32) reply { return replies[p] }) })
	if err := lookAndPin(shortly(t), podDir); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want an error at once", err)
	}
}

// A guest that hangs up after each look is not looked at again at once.
func TestAConnectionLastsAtLeastSoLong(t *testing.T) {
	ours, theirs := net.Pipe()
	f := newFrames(ours, newBudget(), 1)
	theirs.Close()
	start := time.Now()
	if _, err := f.Read(make([]byte, 1)); err == nil {
		t.Fatal("read something of a connection that is closed")
	}
	<-f.changed
	if took := time.Since(start); took < shortestLife/2 {
		t.Errorf("its end was told after %s, want %s", took, shortestLife)
	}
}

// Events without end are read slowly once there were many.
func TestAFloodOfEventsIsReadSlowly(t *testing.T) {
	ours, theirs := net.Pipe()
	f := newFrames(ours, newBudget(), 1)
	defer f.Close()
	go func() { _, _ = f.Read(make([]byte, 1)) }()
	event := payloadOf(headerSize, remoteProgram, 1, 318, typeMessage, 0, statusOK)
	sent := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); sent++ {
		if err := theirs.SetDeadline(end); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.Write(event); err != nil {
			break
		}
	}
	if most := eventBurst + 3*eventsPerSecond; sent < eventBurst || sent > most {
		t.Errorf("%d events were read within 2 s, want %d to %d", sent, eventBurst, most)
	}
}

// FuzzAnswers has a libvirt answer one call with anything, within the memory that an agent has for one guest.
func FuzzAnswers(f *testing.F) {
	for procedure, r := range honest() {
		f.Add(procedure, uint32(statusOK), r.payload)
		f.Add(procedure, uint32(statusError), payloadOf(1, 0, 0, "no"))
		f.Add(procedure, uint32(statusOK), payloadOf(huge, huge, huge))
	}
	f.Fuzz(func(t *testing.T, procedure, status uint32, payload []byte) {
		replies := honest()
		replies[procedure] = reply{payload: payload, status: status}
		ours, theirs := net.Pipe()
		go serve(theirs, func(p uint32) reply { return replies[p] })
		defer theirs.Close()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		h := New(config.Pinning{})
		if c, err := h.open(ctx, ours, 107, 2); err == nil {
			defer c.Close()
			if guest, err := c.Guest(ctx, "vms_db"); err == nil {
				_, _ = c.Waits(ctx, guest)
				_ = c.Pin(ctx, guest, pinning.Thread{Kind: pinning.VCPU}, cpuset.Of(1))
			}
		}
		if ctx.Err() != nil {
			t.Error("it took 5 s")
		}
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 32<<20 {
			t.Errorf("%d bytes made it allocate %d MiB", len(payload), allocated>>20)
		}
	})
}

const (
	hostileEnv    = "COREPIN_HOSTILE_ROOT"
	hostileGuests = 200
)

// worst are the answers that cost most: as many threads as a guest with one CPU may have, and as much XML as is read,
// another one each time.
func worst() func(procedure uint32) reply {
	const threads = 66
	var text strings.Builder
	fmt.Fprintf(&text, "<domain><description>000000000</description><vcpu>%d</vcpu><iothreads>%d</iothreads><cputune>", threads, threads)
	for text.Len() < maxXML-30 {
		text.WriteString("<vcpupin/>")
	}
	text.WriteString("</cputune></domain>")
	xml := payloadOf(text.String())
	vcpus := payloadOf(threads)
	ioThreads := payloadOf(threads)
	for i := range threads {
		vcpus = append(vcpus, payloadOf(i, 1, 0, 0, 0)...)
		ioThreads = append(ioThreads, payloadOf(i+1, strings.Repeat("\xff", maxMap))...)
	}
	replies := honest()
	replies[procDomainGetVcpus] = reply{payload: append(vcpus, payloadOf(strings.Repeat("\xff", threads*mapLength))...)}
	replies[procDomainGetIOThreadInfo] = reply{payload: append(ioThreads, payloadOf(threads)...)}
	looks := 0
	return func(procedure uint32) reply {
		if procedure != procDomainGetXMLDesc {
			return replies[procedure]
		}
		looks++
		copy(xml[wordSize+len("<domain><description>"):], fmt.Sprintf("%09d", looks%1e9))
		return reply{payload: xml}
	}
}

// pinnable is an honest guest, which is where it was pinned.
func pinnable() func(procedure uint32) reply {
	const pinned = "<cputune><vcpupin vcpu='0' cpuset='0'/><iothreadpin iothread='1' cpuset='0'/><emulatorpin cpuset='0'/></cputune></domain>"
	replies := honest()
	return func(procedure uint32) reply {
		switch procedure {
		case procDomainPinVcpu, procDomainPinIOThread, procDomainPinEmulator:
			cpuMap := "\x01" + string(make([]byte, mapLength-1))
			replies[procDomainGetXMLDesc] = reply{payload: payloadOf(strings.Replace(smallXML, "</domain>", pinned, 1))}
			replies[procDomainGetVcpus] = reply{payload: payloadOf(1, 0, 1, 0, 0, 0, cpuMap)}
		}
		return replies[procedure]
	}
}

// TestHostileAlone is no test of its own: TestManyHostileGuests runs it as a process that does nothing but pin.
func TestHostileAlone(t *testing.T) {
	root := os.Getenv(hostileEnv)
	if root == "" {
		t.Skip("run by TestManyHostileGuests")
	}
	vms := map[string]cpuset.Set{}
	for i := range hostileGuests {
		vms[manyVM(i)] = cpuset.Of(i)
	}
	events := runController(t, root, "", vms)
	await(t, "the honest guest's pins", func() error { return events.has("Pinned", "vCPU 0→0") })
	<-time.After(20 * time.Second)
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\npeak %s\n", field(string(data), "VmHWM"))
}

// TestManyHostileGuests has the guests of a whole node, but one, send the worst that they may.
func TestManyHostileGuests(t *testing.T) {
	root := t.TempDir()
	for i := range hostileGuests {
		answer := worst
		if i == 0 {
			answer = pinnable
		}
		podDir := filepath.Join(root, "pods", string(podUID(manyVM(i))))
		listen(t, podDir, func(conn net.Conn) { go serve(conn, answer()) })
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHostileAlone$", "-test.v")
	cmd.Env = append(os.Environ(), hostileEnv+"="+root, "GOGC=40")
	output, err := process.CombinedOutput(cmd)
	if err != nil {
		t.Fatalf("the agent ended with %v:\n%s", err, bytes.TrimSpace(output))
	}
	_, text, _ := strings.Cut(string(output), "\npeak ")
	peak, err := strconv.Atoi(strings.TrimSuffix(strings.Split(text, "\n")[0], " kB"))
	if err != nil {
		t.Fatalf("no peak in\n%s", output)
	}
	t.Logf("%d hostile guests: %d MiB at most", hostileGuests-1, peak>>10)
	most := 110
	if bounds.Raced {
		most *= 5 // the race detector keeps notes on all memory
	}
	if peak>>10 > most {
		t.Errorf("the agent had %d MiB, want at most %d", peak>>10, most)
	}
}
