// SPDX-License-Identifier: Apache-2.0

package standstill

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"corepin.dev/corepin/test/harness/process"
)

func TestTheOldestCallIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(clock.RealClock{})
		done := make(chan string)
		go func() { done <- c.watch(t.Context(), Limit) }()
		for range 100 {
			number := c.Begin("predicting", "for node quick")
			<-time.After(Limit - time.Second)
			c.End(number)
		}
		c.Begin("predicting", "for node n1")
		<-time.After(time.Second)
		c.Begin("predicting", "for node n2")
		began := time.Now()
		got := <-done
		if !strings.HasPrefix(got, "predicting for node n1 has not ended for 1m") {
			t.Errorf("got %q", got)
		}
		if waited := time.Since(began); waited > Limit+Limit/10 {
			t.Errorf("noticed after %s", waited)
		}
	})
}

// spin is set for the child of the test below.
const spin = "COREPIN_TEST_SPIN"

// A goroutine that spins with a lock held, as a search without end does in Filter, ends the process.
func TestTheProcessEnds(t *testing.T) {
	if os.Getenv(spin) != "" {
		c := New(clock.RealClock{})
		var held sync.Mutex
		go func() {
			c.Begin("predicting", "for node n1")
			held.Lock()
			for {
				os.Getpid()
			}
		}()
		go func() { held.Lock() }()
		c.Run(t.Context(), 500*time.Millisecond)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheProcessEnds$", "-test.timeout=30s")
	child.Env = append(os.Environ(), spin+"=1")
	out, err := process.CombinedOutput(child)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the process ended with %v, want code 1", err)
	}
	for _, want := range []string{"stands still: predicting for node n1 has not ended", "another replica can lead", "TestTheProcessEnds.func1"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%.2000s", want, out)
		}
	}
}
