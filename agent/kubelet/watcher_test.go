// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"corepin.dev/corepin/pkg/cpuset"
)

const config = configHeader + "cpuManagerPolicy: static\nreservedSystemCPUs: \"0\"\n"

// nobody is who there is to ask where only the files matter.
var nobody = ConfigzOptions{Address: func() (string, []string, error) { return "", nil, ErrNotYet }}

// replace writes a file as the kubelet does: beside its place, then by rename.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

// await waits until the watcher's state is as wanted.
func await(t *testing.T, w *Watcher, changed <-chan struct{}, what string, ok func(*State) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !ok(w.State()) {
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("never saw %s; the last state is %+v", what, w.State())
		}
	}
}

func start(t *testing.T, w *Watcher) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWatcherSeesEveryReplacement(t *testing.T) {
	dir := t.TempDir()
	state, configFile := filepath.Join(dir, checkpointFile), filepath.Join(t.TempDir(), "config.yaml")
	// The period is too long to have a part in this: only the notification brings the changes.
	w := NewWatcher(Options{RootDir: dir, ConfigFile: configFile, Reread: time.Hour, Clock: clock.RealClock{}, Configz: nobody})
	changed := w.Subscribe()
	start(t, w)
	await(t, w, changed, "that no file is there", func(s *State) bool {
		return errors.Is(s.Checkpoint.Err, fs.ErrNotExist) && errors.Is(s.File.Err, fs.ErrNotExist) && !s.Checkpoint.Known
	})
	replace(t, state, stateV2)
	await(t, w, changed, "the first state", func(s *State) bool { return s.Checkpoint.Value.Granted["8f3b"]["c0"].Len() == 4 })
	replace(t, configFile, config)
	await(t, w, changed, "the configuration", func(s *State) bool { return s.File.Err == nil && s.File.Value.ReservedCPUs == cpuset.Of(0) })
	replace(t, state, stateBetween)
	await(t, w, changed, "the second state", func(s *State) bool { return s.Checkpoint.Value.Shared == cpuset.Of(0, 1) })

	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	await(t, w, changed, "the removal, with the last state kept", func(s *State) bool {
		return s.Checkpoint.Err != nil && !s.Checkpoint.Since.IsZero() && s.Checkpoint.Value.Shared == cpuset.Of(0, 1)
	})
	replace(t, state, stateV4)
	await(t, w, changed, "the new state", func(s *State) bool { return s.Checkpoint.Err == nil && s.Checkpoint.Value.Granted["p"]["a"].Len() == 2 })
}

func TestWatcherRereadsWithoutNotification(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "kubelet") // not there yet: nothing to be notified of
	clock := testingclock.NewFakeClock(time.Unix(1000, 0))
	w := NewWatcher(Options{RootDir: dir, ConfigFile: filepath.Join(dir, "config.yaml"), Reread: time.Minute, Clock: clock, Configz: nobody})
	changed := w.Subscribe()
	start(t, w)
	await(t, w, changed, "that there is no directory", func(s *State) bool { return s.Checkpoint.Err != nil })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, checkpointFile), stateV2)
	clock.Step(time.Minute)
	await(t, w, changed, "the state", func(s *State) bool { return s.Checkpoint.Err == nil && s.Checkpoint.Known })
}

// A state between two writes of one admission is not told, unless no second write comes.
func TestAStateBetweenTwoWrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, checkpointFile)
	clock := testingclock.NewFakeClock(time.Unix(1000, 0))
	w := NewWatcher(Options{RootDir: dir, ConfigFile: filepath.Join(dir, "config.yaml"), Reread: time.Hour, Clock: clock, Configz: nobody})
	write := func(shared, entries string) {
		replace(t, path, `{"policyName":"static","defaultCpuSet":"`+shared+`","entries":{`+entries+`},"checksum":1}`)
		w.Refresh(t.Context())
	}
	const first, second = `"p":{"a":"2-3"}`, `"q":{"a":"4-5"}`
	for _, step := range []struct {
		what            string
		shared, entries string
		wait            time.Duration // before it
		want            string        // the shared pool that is told
	}{
		{"the first", "0-1,4-7", first, 0, "0-1,4-7"},
		{"admission, first write", "0-1,6-7", first, 0, "0-1,4-7"},
		{"admission, second write", "0-1,6-7", first + "," + second, time.Second, "0-1,6-7"},
		{"removal, first write", "0-1,6-7", second, time.Hour, "0-1,6-7"},
		{"removal, second write", "0-3,6-7", second, time.Second, "0-3,6-7"},
		{"a write that stays alone", "0-1,6-7", second, time.Hour, "0-3,6-7"},
		{"a second later", "0-1,6-7", second, settle - 1, "0-3,6-7"},
		{"later", "0-1,6-7", second, 1, "0-1,6-7"},
		{"the next one, first write", "0-1", second, 0, "0-1,6-7"},
		{"another kubelet's", "0-9", "", 0, "0-9"},
	} {
		clock.Step(step.wait)
		write(step.shared, step.entries)
		if got := w.State().Checkpoint.Value.Shared.String(); got != step.want {
			t.Errorf("%s: the shared pool is %s, want %s", step.what, got, step.want)
		}
	}
	changed := w.Subscribe()
	write("0-7", "")
	start(t, w)
	await(t, w, changed, "a write that stays alone, without another one", func(s *State) bool {
		clock.Step(settle)
		return s.Checkpoint.Value.Shared.String() == "0-7"
	})
}

// The kernel may be short of inotify instances when the agent starts, and have some a moment later.
func TestNotificationsThatRunShortAreTriedAgain(t *testing.T) {
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "config.yaml"), config)
	clock := testingclock.NewFakeClock(time.Now())
	var short atomic.Bool
	short.Store(true)
	w := NewWatcher(Options{
		RootDir: dir, ConfigFile: filepath.Join(dir, "config.yaml"), Configz: nobody, Reread: time.Minute, Clock: clock,
		Notify: func() (*fsnotify.Watcher, error) {
			if short.Load() {
				return nil, unix.EMFILE
			}
			return fsnotify.NewWatcher()
		},
	})
	changed := w.Subscribe()
	start(t, w)
	await(t, w, changed, "the shortage", func(s *State) bool {
		return s.Watched.Err != nil && strings.Contains(s.Watched.Err.Error(), "raise fs.inotify.max_user_instances")
	})
	short.Store(false)
	clock.Step(time.Minute)
	await(t, w, changed, "its end", func(s *State) bool { return s.Watched.Value && s.Watched.Err == nil })
	replace(t, filepath.Join(dir, checkpointFile), stateV2)
	await(t, w, changed, "a file that changed since", func(s *State) bool { return s.Checkpoint.Known && s.Checkpoint.Err == nil })
}

func TestRefreshKeepsTheLastGoodState(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, checkpointFile)
	clock := testingclock.NewFakeClock(time.Unix(1000, 0))
	w := NewWatcher(Options{RootDir: dir, ConfigFile: filepath.Join(dir, "config.yaml"), Reread: time.Minute, Clock: clock, Configz: nobody})
	changed := w.Subscribe()
	rung := func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	outside := filepath.Join(t.TempDir(), "state")
	replace(t, outside, stateV2)
	for _, step := range []struct {
		name     string
		change   func()
		wantRing bool
		wantErr  bool
	}{
		{"a good file", func() { replace(t, path, stateV2); replace(t, filepath.Join(dir, "config.yaml"), config) }, true, false},
		{"the same again", func() { replace(t, path, stateV2) }, false, false},
		{"a damaged file", func() { replace(t, path, stateV2[:40]) }, true, true},
		{"still damaged", func() { clock.Step(time.Minute) }, false, true},
		{"an empty file", func() { replace(t, path, "") }, true, true},
		{"a file too large", func() { replace(t, path, string(make([]byte, maxFileSize+1))) }, true, true},
		{"a link to elsewhere", func() { _ = os.Remove(path); _ = os.Symlink(outside, path) }, true, true},
		{"a good file again", func() { replace(t, path, stateV2) }, true, false},
	} {
		step.change()
		w.Refresh(t.Context())
		s := w.State()
		if got := rung(); got != step.wantRing {
			t.Errorf("%s: rung is %t, want %t", step.name, got, step.wantRing)
		}
		if got := s.Checkpoint.Err != nil; got != step.wantErr {
			t.Errorf("%s: error is %v, want one: %t", step.name, s.Checkpoint.Err, step.wantErr)
		}
		if granted, current := s.Granted(); granted["8f3b"]["c0"].Len() != 4 || current == step.wantErr {
			t.Errorf("%s: the grant is lost, or taken for the latest: %v, current %t", step.name, granted, current)
		}
		if step.wantErr && !s.Checkpoint.Since.Equal(time.Unix(1000, 0)) {
			t.Errorf("%s: failing since %s, want since the first failure", step.name, s.Checkpoint.Since)
		}
	}
}
