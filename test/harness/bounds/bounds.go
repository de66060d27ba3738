// SPDX-License-Identifier: Apache-2.0

// Package bounds holds code that reads what others write to a limit of time and of memory, in tests and under fuzzing.
//
// Time is that of the calling thread's CPU: other work on the machine does not count. Memory is all that was allocated
// meanwhile by the process, whether it was given back or not. The thread also pays for some of the garbage collector's work,
// so limits are to be far above what is usual.
package bounds

import (
	"flag"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Limits are what a call may take.
type Limits struct {
	// Time is that of the calling thread's CPU.
	Time time.Duration
	// Bytes are those allocated.
	Bytes uint64
}

// Parser is for a call that reads text of at most 64 KiB: far more than any real one takes, and what nobody is harmed by.
var Parser = Limits{Time: time.Second, Bytes: 64 << 20}

// Within runs a call, and fails the test where it took more than the limits; see Instrumented. input is named in the failure.
func Within(t testing.TB, limits Limits, input string, call func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := CPUTime(t)
	call()
	took := CPUTime(t) - began
	runtime.ReadMemStats(&after)
	if most := Instrumented(limits.Time); took > most {
		t.Errorf("%.100q took %s, at most %s is allowed", input, took, most)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > limits.Bytes {
		t.Errorf("%.100q made it allocate %d KiB, at most %d KiB are allowed", input, allocated>>10, limits.Bytes>>10)
	}
}

// Instrumented is a limit of time as it is for code that tells the fuzzer what was reached, or the race detector which memory is
// read and written: both take a few times as long. Test binaries without either hold the limit itself, also for what the
// fuzzer found, which becomes a seed.
func Instrumented(limit time.Duration) time.Duration {
	if Raced {
		return 10 * limit
	}
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		return 4 * limit
	}
	return limit
}

// CPUTime is what the calling thread has used. The caller is locked to it.
func CPUTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(1 /* RUSAGE_THREAD */, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
