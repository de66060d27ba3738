// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
)

// An interrupt ends the context, and not the program.
func TestUntilInterrupted(t *testing.T) {
	ctx, stop := untilInterrupted(t.Context())
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(os.Interrupt)
	}
	if err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
}
