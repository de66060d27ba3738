package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/source"
)

// maxFileSize bounds what is read of one file. A state file with 1024 CPUs, each granted to a container
// of its own, has about 200 kB.
const maxFileSize = 4 << 20

// Options say what a Watcher reads.
type Options struct {
	// RootDir is the kubelet's root directory.
	RootDir string
	// ConfigFile is the path of the kubelet's configuration file.
	ConfigFile string
	// Reread is the time between two reads that nothing has asked for.
	Reread time.Duration
	// Clock is the time; tests have their own.
	Clock clock.WithTicker
}

// Watcher keeps a State up to date.
type Watcher struct {
	options Options
	state   atomic.Pointer[State]
	changed source.Bell
}

// NewWatcher gives a Watcher that has not read anything yet.
func NewWatcher(options Options) *Watcher {
	w := &Watcher{options: options}
	w.state.Store(&State{})
	return w
}

// State is what was last read; never nil.
func (w *Watcher) State() *State { return w.state.Load() }

// Subscribe gives a channel that receives whenever State has changed.
func (w *Watcher) Subscribe() <-chan struct{} { return w.changed.Subscribe() }

// Run keeps the State up to date until ctx ends: by the notifications of the directories, and every
// Options.Reread without them.
func (w *Watcher) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	var events chan fsnotify.Event
	var failures chan error
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Info("watching files is not possible, reading them periodically instead; raise fs.inotify.max_user_instances",
			"err", err, "period", w.options.Reread)
	} else {
		defer notifier.Close()
		events, failures = notifier.Events, notifier.Errors
	}
	ticker := w.options.Clock.NewTicker(w.options.Reread)
	defer ticker.Stop()
	for {
		w.watchDirectories(logger, notifier)
		w.Refresh(ctx)
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C():
				again = true
			case event := <-events:
				if w.concerns(event) {
					w.Refresh(ctx)
				}
			case err := <-failures: // events were lost
				logger.V(2).Info("watching files failed, reading them again", "err", err)
				again = true
			}
		}
	}
}

// watchDirectories watches the directories of both files, again and again: a directory that was replaced
// is another directory, and watching one twice costs nothing.
func (w *Watcher) watchDirectories(logger klog.Logger, notifier *fsnotify.Watcher) {
	if notifier == nil {
		return
	}
	for _, dir := range []string{w.options.RootDir, filepath.Dir(w.options.ConfigFile)} {
		if err := notifier.Add(dir); err != nil {
			logger.V(2).Info("watching a directory is not possible, trying again later", "dir", dir, "err", err)
		}
	}
}

// concerns tells whether an event is about one of the two files, or about the link through which mounted
// ConfigMaps and Secrets are replaced.
func (w *Watcher) concerns(event fsnotify.Event) bool {
	switch filepath.Base(event.Name) {
	case checkpointFile, filepath.Base(w.options.ConfigFile), "..data":
		return event.Op != fsnotify.Chmod
	}
	return false
}

// Refresh reads both files now. Only one Refresh runs at a time: either Run's, or the caller's before Run.
func (w *Watcher) Refresh(ctx context.Context) {
	logger := klog.FromContext(ctx)
	before, now := w.State(), w.options.Clock.Now()
	after := &State{
		Checkpoint: next(before.Checkpoint, filepath.Join(w.options.RootDir, checkpointFile), ParseCheckpoint, now),
		Config:     next(before.Config, w.options.ConfigFile, ParseConfig, now),
	}
	observe("checkpoint", after.Checkpoint.Err)
	observe("config", after.Config.Err)
	if same(before.Checkpoint, after.Checkpoint) && same(before.Config, after.Config) {
		return
	}
	w.state.Store(after)
	w.changed.Ring()
	if err := errors.Join(after.Checkpoint.Err, after.Config.Err); err != nil {
		logger.Info("reading the kubelet failed, keeping what was read before", "err", err)
	}
	if after.Checkpoint.Err != nil {
		return
	}
	checkpoint := after.Checkpoint.Value
	logger.V(2).Info("read the kubelet", "policy", checkpoint.Policy, "shared", checkpoint.Shared.String(), "pods", len(checkpoint.Granted))
}

func next[T any](before source.Reading[T], path string, parse func([]byte) (T, error), now time.Time) source.Reading[T] {
	var value T
	data, err := readFile(path)
	if err == nil {
		value, err = parse(data)
	}
	if err != nil {
		err = fmt.Errorf("reading %s: %w", path, err)
	}
	return before.Next(value, err, now)
}

// readFile reads a file without following links out of its directory: the agent runs as root on
// directories of the host.
func readFile(path string) ([]byte, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(filepath.Base(path))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("the file is larger than %d bytes", maxFileSize)
	}
	return data, err
}

func same[T any](a, b source.Reading[T]) bool {
	return a.Known == b.Known && a.SameError(b) && reflect.DeepEqual(a.Value, b.Value)
}
