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

// run tells the story in a directory of its own, which is kept only if something went wrong.
func run(ctx context.Context, f flags) error {
	dir, err := os.MkdirTemp("", "corepin-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	bed, err := tell(ctx, f, dir)
	if bed != nil {
		err = errors.Join(err, bed.Stop())
	}
	if err != nil {
		return fmt.Errorf("%w\nlogs and files are kept in %s", err, dir)
	}
	fmt.Fprintln(progress(f), "\nEverything was stopped and removed.")
	return os.RemoveAll(dir)
}

// tell starts a testbed and tells the story on it. The testbed is returned running, also with an error
// of the story.
func tell(ctx context.Context, f flags, dir string) (*testbed.Testbed, error) {
	if err := prepare(dir); err != nil {
		return nil, err
	}
	bin, err := filepath.Abs(f.bin)
	if err != nil {
		return nil, fmt.Errorf("finding the binaries: %w", err)
	}
	bed, err := testbed.Start(ctx, testbed.Options{Dir: dir, Bin: bin, Machines: story.Machines(f.kvm), Log: progress(f)})
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

// prepare makes dir one that guests, which run as another user, can reach, and sends what the kubelets'
// packages log in this process to a file.
func prepare(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("opening the demo's directory: %w", err)
	}
	options := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(options)
	for name, value := range map[string]string{"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "log_file": filepath.Join(dir, "simulated-kubelets.log")} {
		if err := options.Set(name, value); err != nil {
			return fmt.Errorf("directing the log: %w", err)
		}
	}
	return nil
}
