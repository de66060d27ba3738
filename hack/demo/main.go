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
	"os/signal"
	"syscall"
)

type flags struct {
	output string
	bin    string
	state  string
	kvm    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
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
	if len(args) == 0 {
		return errors.New("want a command: run, up or down")
	}
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	if f.output != "text" && f.output != "json" {
		return fmt.Errorf("--output is %q; want text or json", f.output)
	}
	commands := map[string]func(context.Context, flags) error{"run": run, "up": up, "down": down, "serve": serve}
	command, known := commands[args[0]]
	if !known || set.NArg() > 0 {
		return fmt.Errorf("unknown command %q; want run, up or down", args)
	}
	if os.Geteuid() != 0 {
		return errors.New("must run as root: guests run under libvirt as another user")
	}
	return command(ctx, f)
}
