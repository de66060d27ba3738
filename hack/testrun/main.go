// SPDX-License-Identifier: Apache-2.0

// Command testrun runs go test and shows what a person wants to see of it. That is each package as it ends, and the
// output of what failed. While nothing ends there is a line every half a minute. The last line sums up.
//
// Everything that the tests print goes to a file. The components of Kubernetes that the suites run print a thousand
// lines a minute, which would hide the one that matters.
//
//	usage: testrun -log FILE [--] ARGUMENTS OF go test
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"os/signal"
)

// quiet is how long nothing may be printed.
const quiet = 30 * time.Second

func main() {
	log := flag.String("log", "", "the file that gets all that the tests print")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *log, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing to do at the end of the process
	}
}

// errFailed says no more than the last line.
var errFailed = errors.New("go test failed")

// run runs go test. What it prints to standard error, such as packages that do not compile, is shown and logged.
func run(ctx context.Context, logName string, args []string, out io.Writer) error {
	if logName == "" {
		return errors.New("-log is missing; want the file that gets all that the tests print")
	}
	err := os.MkdirAll(filepath.Dir(logName), 0o755)
	if err != nil {
		return err
	}
	log, err := os.Create(logName)
	if err != nil {
		return err
	}
	defer log.Close()
	shown := &printer{out: out, last: time.Now()}
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = io.MultiWriter(log, shown)
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	err = cmd.Start()
	if err != nil {
		return err
	}
	results := newResults(log, shown)
	ended := make(chan struct{})
	var beats sync.WaitGroup
	beats.Go(func() { heartbeat(ended, shown, results) })
	readErr := results.read(events)
	waitErr := cmd.Wait()
	close(ended)
	beats.Wait()
	fmt.Fprintf(shown, "%s; all output: %s\n", results.summary(), logName)
	switch {
	case readErr != nil:
		return readErr
	case waitErr != nil || results.failed > 0:
		return errors.Join(errFailed, waitErr)
	}
	return nil
}

// heartbeat says what runs whenever nothing was printed for a while.
func heartbeat(ended <-chan struct{}, shown *printer, results *results) {
	tick := time.NewTicker(quiet / 6)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		if shown.silent() >= quiet {
			fmt.Fprintln(shown, results.running(time.Now()))
		}
	}
}

// printer knows when something was printed last.
type printer struct {
	mu   sync.Mutex
	out  io.Writer
	last time.Time
}

func (p *printer) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	return p.out.Write(text)
}

func (p *printer) silent() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.last)
}
