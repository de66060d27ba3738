// SPDX-License-Identifier: Apache-2.0

package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"corepin.dev/corepin/agent/pinning"
)

// Names of the statistics of a vCPU: "vcpu.3.delay".
const (
	statPrefix = "vcpu."
	// statDelay is from the kernel's schedstat: the nanoseconds that the vCPU's thread was ready to run and waited in the
	// queue of a CPU. It is 0 on a kernel without CONFIG_SCHED_INFO (qemuGetSchedstatDelay in libvirt's
	// src/qemu/qemu_driver.c), and missing before libvirt 7.2.
	statDelay = "delay"
	// statWait is the same by the scheduler's own statistics. It is 0 where these are off, which is their default, and where
	// libvirt does not know their name in the kernel (virProcessGetSchedInfo in src/util/virprocess.c).
	statWait = "wait"
)

// Waits implements pinning.Connection. It is one call. The two counters of a vCPU count the same, and one that the kernel does
// not have is 0. No thread has waited for 0 ns in all its life, so a vCPU with nothing but zeros is left out.
//
// libvirt tells the statistics of KVM in the same answer, some forty of each vCPU since version 8.9 with QEMU 7.1, and can be
// asked for no less; onlyWaits leaves them out. While it works on the guest, as in a migration, libvirt does not wait.
func (c *connection) Waits(ctx context.Context, guest *pinning.Guest) (map[int]time.Duration, error) {
	defer c.frames.release()
	records, err := call(ctx, c, func() ([]golibvirt.DomainStatsRecord, error) {
		return c.rpc.ConnectGetAllDomainStats([]golibvirt.Domain{handle(guest)}, uint32(golibvirt.DomainStatsVCPU), uint32(golibvirt.ConnectGetAllDomainsStatsNowait))
	})
	if err != nil {
		return nil, c.gone(handle(guest), "reading the statistics", err)
	}
	online := map[int]bool{}
	for _, vcpu := range guest.VCPUs {
		online[vcpu.ID] = true
	}
	waits := map[int]time.Duration{}
	for _, name := range []string{statWait, statDelay} { // the last one wins
		for _, record := range records {
			for _, p := range record.Params {
				id, waited, is := waitIn(p, name)
				if is && online[id] {
					waits[id] = waited
				}
			}
		}
	}
	return waits, nil
}

// onlyWaits leaves all statistics out of an answer but those that say how long a vCPU has waited. The answer is checked, so
// that no part of it is too short.
func onlyWaits(payload []byte) []byte {
	take := func(p part) []byte {
		rest, _ := p(payload)
		taken := payload[:len(payload)-len(rest)]
		payload = rest
		return taken
	}
	domains := take(words(1))
	kept := bytes.Clone(domains)
	for range binary.BigEndian.Uint32(domains) {
		kept = append(kept, take(opaque(maxName))...)
		kept = append(kept, take(words(5))...)
		var chosen []byte
		number := uint32(0)
		for range binary.BigEndian.Uint32(take(words(1))) {
			p := take(parameter)
			name := string(p[wordSize : wordSize+binary.BigEndian.Uint32(p)])
			if strings.HasPrefix(name, statPrefix) && (strings.HasSuffix(name, "."+statDelay) || strings.HasSuffix(name, "."+statWait)) {
				chosen = append(chosen, p...)
				number++
			}
		}
		kept = binary.BigEndian.AppendUint32(kept, number)
		kept = append(kept, chosen...)
	}
	return kept
}

// waitIn reads the statistic of that name of some vCPU. is is false for all others, and for 0.
func waitIn(p golibvirt.TypedParam, name string) (id int, waited time.Duration, is bool) {
	rest, ofVCPU := strings.CutPrefix(p.Field, statPrefix)
	number, suffix, _ := strings.Cut(rest, ".")
	if !ofVCPU || suffix != name {
		return 0, 0, false
	}
	id, err := strconv.Atoi(number)
	nanoseconds, isCounter := p.Value.I.(uint64)
	if err != nil || !isCounter || nanoseconds == 0 {
		return 0, 0, false
	}
	return id, time.Duration(min(nanoseconds, math.MaxInt64)), true
}
