// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/agent/source"
)

// maxFileSize bounds what is read of one file. A state file with 1792 CPUs, each granted to a container
// of its own, has about 200 kB.
const maxFileSize = 4 << 20

// Options say what a Watcher reads.
type Options struct {
	// RootDir is the kubelet's root directory.
	RootDir string
	// ConfigFile is the path of the kubelet's configuration file.
	ConfigFile string
	// Configz is how the kubelet is asked for its configuration.
	Configz ConfigzOptions
	// Reread is the time between two reads of files that nothing has asked for.
	Reread time.Duration
	// Clock is the time; tests have their own.
	Clock clock.WithTicker
	// Notify makes what notifies of changed files; nil means fsnotify's. Tests have one that runs short.
	Notify func() (*fsnotify.Watcher, error)
}

// Watcher keeps a State up to date.
type Watcher struct {
	options Options
	state   atomic.Pointer[State]
	// looked is when the files were last read, with or without success.
	looked  atomic.Pointer[time.Time]
	changed source.Bell
	// ask and askDevices hold a token when the kubelet is to be asked everything, or for its devices.
	ask        chan struct{}
	askDevices chan struct{}
	// devicesInfo is of the device manager's checkpoint that was last read without error, for Refresh only.
	devicesInfo os.FileInfo
	// parsed is what the files said when they were last parsed, for Refresh only.
	parsed parsedFiles
	// answer is the fingerprint of the kubelet's last answer about devices, and answered reports whether State has what that
	// answer says. Both are for RefreshDevices only.
	answer   uint64
	answered bool
	seed     maphash.Seed
	// between remembers a state that was found between two writes, for Refresh only. settled then asks Run for another read.
	between time.Time
	settled <-chan time.Time
	// storing serializes those who change the state: the files' side and the kubelet's.
	storing sync.Mutex
}

// NewWatcher gives a Watcher that has not read anything yet.
func NewWatcher(options Options) *Watcher {
	seed := maphash.MakeSeed()
	w := &Watcher{options: options, parsed: newParsedFiles(seed), ask: make(chan struct{}, 1), askDevices: make(chan struct{}, 1), seed: seed}
	w.state.Store(&State{})
	return w
}

// Looked is when the kubelet's files were last read, with or without success; the zero time before that. A read that
// does not end leaves it behind.
func (w *Watcher) Looked() time.Time {
	looked := w.looked.Load()
	if looked == nil {
		return time.Time{}
	}
	return *looked
}

// State is what was last read; never nil.
func (w *Watcher) State() *State { return w.state.Load() }

// Subscribe gives a channel that receives whenever State has changed.
func (w *Watcher) Subscribe() <-chan struct{} { return w.changed.Subscribe() }

// Run keeps the State up to date until ctx ends: the files by the notifications of the directories, and
// every Options.Reread without them; what the kubelet itself says by asking it.
func (w *Watcher) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	asking.Go(func() { w.keepAsking(ctx) })
	defer asking.Wait()
	logger := klog.FromContext(ctx)
	notifier := &notifier{open: w.options.Notify}
	defer notifier.close()
	ticker := w.options.Clock.NewTicker(w.options.Reread)
	defer ticker.Stop()
	for {
		w.noteWatched(logger, notifier.watch(w.directories()))
		w.Refresh(ctx)
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C():
				again = true
			case <-w.settled:
				w.settled = nil
				w.Refresh(ctx)
			case event := <-notifier.events():
				again = w.seen(ctx, event)
			case err := <-notifier.errors(): // events were lost
				logger.V(2).Info("watching files failed, reading them again", "err", err)
				again = true
			}
		}
	}
}

// seen acts on what happened in a directory, and reports whether the directories are to be watched anew.
func (w *Watcher) seen(ctx context.Context, event fsnotify.Event) (again bool) {
	switch name := filepath.Base(event.Name); {
	case event.Op == fsnotify.Chmod:
	case name == podResourcesDir, name == devicesDir:
		return true
	case filepath.Base(filepath.Dir(event.Name)) == devicesDir:
		w.seenDevices(ctx, name)
	case name == podResourcesSocket:
		if event.Op.Has(fsnotify.Create) { // a kubelet has started
			w.Refresh(ctx)
			w.Ask()
		}
	case w.concerns(name):
		w.Refresh(ctx)
	}
	return false
}

// seenDevices acts on what happened beside the plugins' sockets. The kubelet notes a plugin that comes in its checkpoint, but
// not one that goes, whose socket goes too. The file's successor has a name that begins with a dot
// (pkg/kubelet/checkpointmanager and pkg/util/filesystem, v1.36.3).
func (w *Watcher) seenDevices(ctx context.Context, name string) {
	if strings.HasPrefix(name, ".") {
		return
	}
	if name == devicesFile {
		w.Refresh(ctx)
	}
	w.AskDevices()
}

// directories are those of all files.
func (w *Watcher) directories() []string {
	root := w.options.RootDir
	return []string{root, filepath.Dir(w.options.ConfigFile), filepath.Join(root, podResourcesDir), filepath.Join(root, devicesDir)}
}

// noteWatched takes note of whether the kernel notifies of changes in the directories. Where it does not, changes are seen
// when the files are read again.
func (w *Watcher) noteWatched(logger klog.Logger, err error) {
	now := w.State().Watched.Next(true, err, w.options.Clock.Now())
	source.ObserveWatched(err)
	if same(w.State().Watched, now) {
		return
	}
	w.change(func(s *State) { s.Watched = now })
	if err != nil {
		logger.Info("the kernel does not notify of changed files, reading them periodically instead", "err", err, "period", w.options.Reread)
		return
	}
	logger.V(2).Info("the kernel notifies of changed files")
}

// concerns reports whether a name is that of one of the files, or of the link through which mounted
// ConfigMaps and Secrets are replaced.
func (w *Watcher) concerns(name string) bool {
	switch name {
	case checkpointFile, memoryFile, filepath.Base(w.options.ConfigFile), "..data":
		return true
	}
	return false
}

// Refresh reads the files now. Only one Refresh runs at a time: either Run's, or the caller's before Run.
func (w *Watcher) Refresh(ctx context.Context) {
	logger := klog.FromContext(ctx)
	before := w.State()
	now := w.options.Clock.Now()
	checkpoint := next(before.Checkpoint, filepath.Join(w.options.RootDir, checkpointFile), w.parsed.checkpoint.parse, now)
	checkpoint = w.whole(before.Checkpoint, checkpoint, now)
	memory := next(before.Memory, filepath.Join(w.options.RootDir, memoryFile), w.parsed.memory.parse, now)
	file := next(before.File, w.options.ConfigFile, w.parsed.config.parse, now)
	devices := w.nextDevices(before.Devices, now)
	modified := modifiedAt(w.options.ConfigFile)
	started := modifiedAt(filepath.Join(w.options.RootDir, podResourcesDir, podResourcesSocket))
	ended := w.options.Clock.Now()
	w.looked.Store(&ended)
	source.Observe(source.Checkpoint, checkpoint.Err)
	source.Observe(source.Memory, memory.Err)
	source.Observe(source.Config, file.Err)
	source.Observe(source.Devices, devices.Err)
	if same(before.Checkpoint, checkpoint) && same(before.Memory, memory) && same(before.File, file) && same(before.Devices, devices) &&
		before.Modified.Equal(modified) && before.Started.Equal(started) {
		return
	}
	if checkpoint.Value.Policy != before.Checkpoint.Value.Policy || !same(before.File, file) {
		w.Ask() // the kubelet may have started with something else
	}
	w.change(func(s *State) {
		s.Checkpoint = checkpoint
		s.Memory = memory
		s.File = file
		s.Devices = devices
		s.Modified = modified
		s.Started = started
	})
	if err := errors.Join(checkpoint.Err, file.Err); err != nil {
		logger.Info("reading the kubelet's files failed, keeping what was read before", "err", err)
	}
	if checkpoint.Err == nil {
		logger.V(2).Info("read the kubelet's files", "policy", checkpoint.Value.Policy, "shared", checkpoint.Value.Shared.String(), "pods", len(checkpoint.Value.Granted))
	}
}

// settle is how long a state of the CPU manager may be one between two writes. They are a millisecond apart, and on a node
// without time for its kubelet a second.
const settle = 2 * time.Second

// whole is the reading that holds. The kubelet writes the shared pool and a container's CPUs one after the other (Allocate and
// RemoveContainer in pkg/kubelet/cm/cpumanager/policy_static.go, v1.36.3). In between, some CPUs are nobody's, and
// the state before holds on. A kubelet that ends there does not start again: the state stays, and is told after settle.
func (w *Watcher) whole(before, after source.Reading[Checkpoint], now time.Time) source.Reading[Checkpoint] {
	torn := before.Known && after.Err == nil && before.Value.Policy == after.Value.Policy &&
		!before.Value.all().Minus(after.Value.all()).IsEmpty()
	if torn && w.between.IsZero() {
		w.between = now
		w.settled = w.options.Clock.After(settle)
	}
	if torn && now.Sub(w.between) < settle {
		return before
	}
	w.between = time.Time{}
	w.settled = nil
	return after
}

// nextDevices reads the device manager's checkpoint. The kubelet makes the directory when it starts, and the file with its first
// plugin. It removes neither, so a file that was there and is not says nothing.
func (w *Watcher) nextDevices(before source.Reading[Devices], now time.Time) source.Reading[Devices] {
	dir := filepath.Join(w.options.RootDir, devicesDir)
	info, _ := os.Lstat(filepath.Join(dir, devicesFile)) // nil where it is not there
	if info != nil && before.Known && before.Err == nil && w.devicesInfo != nil && sameFile(info, w.devicesInfo) {
		return before
	}
	after := next(before, filepath.Join(dir, devicesFile), ParseDevices, now)
	w.devicesInfo = nil
	if after.Err == nil {
		w.devicesInfo = info
	}
	if !errors.Is(after.Err, fs.ErrNotExist) || len(before.Value.Registered) > 0 {
		return after
	}
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return before.Next(Devices{}, nil, now)
	}
	return after
}

// sameFile reports whether a file is the one that it was. The kubelet replaces the file for each change.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// change makes the next State of the present one, and tells everybody.
func (w *Watcher) change(f func(*State)) {
	w.storing.Lock()
	after := *w.State()
	f(&after)
	w.state.Store(&after)
	w.storing.Unlock()
	w.changed.Ring()
}

// modifiedAt is when a file was last written, or a socket made; zero where that cannot be told.
func modifiedAt(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
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
