// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"

	"corepin.dev/corepin/test/harness/story"
	"corepin.dev/corepin/test/harness/testbed"
)

// cleaned is the last line of a demo.
const cleaned = "\nEverything was stopped and removed."

// run tells the story in a directory of its own, which is kept only if something went wrong.
func run(ctx context.Context, f flags) error {
	if err := complete(f.bin); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "corepin-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	if err := perform(ctx, f, dir, func(*testbed.Testbed) error { return nil }); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	fmt.Fprintln(progress(f), cleaned)
	return nil
}

// perform tells the story in dir, calls then, stops everything and removes dir: also when it was told to
// stop halfway, which is no error. dir is kept where something went wrong.
func perform(ctx context.Context, f flags, dir string, then func(*testbed.Testbed) error) error {
	bed, err := tell(ctx, f, dir)
	if err == nil {
		err = then(bed)
	}
	if ctx.Err() != nil {
		err = nil
	}
	if bed != nil {
		err = errors.Join(err, bed.Stop())
	}
	if err != nil {
		return fmt.Errorf("%w\nlogs and files are kept in %s", err, dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cleaning up: %w", err)
	}
	return nil
}

// tell starts a testbed and tells the story on it. The testbed is returned running, also with an error
// of the story.
func tell(ctx context.Context, f flags, dir string) (*testbed.Testbed, error) {
	if err := prepare(dir); err != nil {
		return nil, err
	}
	bed, err := testbed.Start(ctx, testbed.Options{Dir: dir, Bin: f.bin, Machines: story.Machines(f.kvm), ShippedLease: true, Log: progress(f)})
	if err != nil {
		return nil, err
	}
	reporter := story.Text(os.Stdout)
	if f.output == "json" {
		reporter = story.JSON(os.Stdout)
	}
	return bed, story.New(bed).Run(ctx, reporter)
}

// progress is where the setup tells what it does: not among the lines that a machine reads.
func progress(f flags) io.Writer {
	if f.output == "json" {
		return os.Stderr
	}
	return os.Stdout
}

// prepare sends what the kubelets' packages log in this process to a file.
func prepare(dir string) error {
	options := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(options)
	for name, value := range map[string]string{"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "log_file": filepath.Join(dir, "simulated-kubelets.log")} {
		if err := options.Set(name, value); err != nil {
			return fmt.Errorf("directing the log: %w", err)
		}
	}
	return nil
}
