// SPDX-License-Identifier: Apache-2.0

// Command demo runs corepin's main job on this machine, with real parts: see test/harness/story.
//
//	demo run    tell the story once, clean up, exit 0 if all of it is true
//	demo up     the same, and stay: prints the KUBECONFIG to use
//	demo down   stop what up started
//
// It wants root, for libvirt guests that run as another user, and the binaries in bin/; `make demo` sees
// to both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = `usage: demo COMMAND [FLAGS]

commands:
  run    tell the story once, clean up, exit 0 if all of it is true
  up     the same, and stay: prints the KUBECONFIG to use
  down   stop what up started

flags:
`

// interruptedCode is what a shell gives for a command that Ctrl-C ended.
const interruptedCode = 130

// errInterrupted is the end of a command that was asked to stop, and has cleaned up.
var errInterrupted = errors.New("interrupted; everything was stopped and removed")

type flags struct {
	output string
	bin    string
	state  string
	kvm    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends this process at once; what it started dies with it
		fmt.Fprintln(os.Stderr, "\ndemo: stopping, which takes a few seconds")
	}()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		if errors.Is(err, errInterrupted) {
			os.Exit(interruptedCode)
		}
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	var f flags
	set := flag.NewFlagSet("demo", flag.ContinueOnError)
	set.StringVar(&f.output, "output", "text", "text, for people, or json, an object a line")
	set.StringVar(&f.bin, "bin", "bin", "directory of corepin-scheduler, corepin-agent and clusterd")
	set.StringVar(&f.state, "state", ".corepin", "directory in which up keeps its files, for down to find")
	set.BoolVar(&f.kvm, "kvm", false, "run the real guest with hardware acceleration (a /dev/kvm that opens may still not run a guest)")
	set.Usage = func() {
		fmt.Fprint(set.Output(), usage)
		set.PrintDefaults()
	}
	if len(args) == 0 {
		return errors.New("want a command: run, up or down")
	}
	commands := map[string]func(context.Context, flags) error{"run": run, "up": up, "down": down, "serve": serve}
	command, known := commands[args[0]]
	if known {
		args = args[1:]
	}
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if !known || set.NArg() > 0 {
		return fmt.Errorf("unknown command %q; want run, up or down", set.Args())
	}
	if f.output != "text" && f.output != "json" {
		return fmt.Errorf("--output is %q; want text or json", f.output)
	}
	for _, dir := range []*string{&f.bin, &f.state} {
		absolute, err := filepath.Abs(*dir)
		if err != nil {
			return fmt.Errorf("finding directory %s: %w", *dir, err)
		}
		*dir = absolute
	}
	if os.Geteuid() != 0 {
		return errors.New("must run as root: guests run under libvirt as another user")
	}
	return command(ctx, f)
}

// complete fails unless all is there that the demo starts.
func complete(bin string) error {
	for _, name := range []string{"clusterd", "corepin-scheduler", "corepin-agent"} {
		if _, err := exec.LookPath(filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("finding the binaries: %w; run: make build", err)
		}
	}
	for _, name := range []string{"libvirtd", "virsh"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("finding libvirt: %w; run: make setup", err)
		}
	}
	return nil
}
