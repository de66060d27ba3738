// SPDX-License-Identifier: Apache-2.0

package simnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/test/harness/guest"
)

const (
	guestStartTimeout = time.Minute
	guestStopTimeout  = 30 * time.Second
	// aftermath is how long a pod is there after its libvirt has ended. In KubeVirt it is some seconds: the launcher and its
	// monitor end after that.
	aftermath = time.Second
	// libvirtVolume is the emptyDir in which KubeVirt's launcher has libvirt's sockets.
	libvirtVolume = "libvirt-runtime"
)

// progress is how far a sandbox has come; it only ever grows.
type progress int

const (
	starting progress = iota
	ready             // its containers run, and its guest is starting: in KubeVirt the domain comes up last
	running           // its guest too
	ended             // by itself: the guest did not start, or stopped
	stopped           // because it was asked to; nothing is left
)

// sandbox is what stands for a pod's containers: its volumes on disk, and its guest if it has one. It
// belongs to the machine, not to the kubelet.
type sandbox struct {
	dir     string // <kubelet root>/pods/<uid>
	pod     *corev1.Pod
	runner  guest.Runner
	specOf  func(*corev1.Pod) (guest.Spec, bool, error)
	program func(context.Context, *corev1.Pod) (guest.Guest, error)
	changed func()

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when stopped

	mu  sync.Mutex
	now sandboxState
}

// sandboxState is a sandbox at one moment.
type sandboxState struct {
	progress progress
	since    [stopped + 1]time.Time // when each step was reached; zero for one that was left out
	failure  error                  // why it ended by itself
	leftover error                  // what could not be cleaned up
	pid      int                    // of the guest's process, 0 where there is none
}

// startSandbox starts what pod runs, in the background. changed is called at every step. The end of ctx,
// the kubelet's, does not end it.
func startSandbox(ctx context.Context, dir string, pod *corev1.Pod, o Options, changed func()) *sandbox {
	s := &sandbox{dir: dir, pod: pod, runner: o.Guests, specOf: o.SpecOf, program: o.Program, changed: changed, done: make(chan struct{})}
	s.now.since[starting] = time.Now()
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go s.run()
	return s
}

func (s *sandbox) run() {
	defer close(s.done)
	var g guest.Guest
	spec, hasGuest, err := s.prepare()
	if err == nil {
		s.reach(ready, nil, nil)
		g, err = s.start(spec, hasGuest)
	}
	if err == nil {
		s.mu.Lock()
		s.now.pid = g.PID()
		s.mu.Unlock()
		s.reach(running, nil, nil)
		select {
		case <-g.Done():
			err = outcome(g)
		case <-s.ctx.Done():
		}
	}
	var stopErr error
	if g != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), guestStopTimeout)
		stopErr = g.Stop(ctx)
		cancel()
	}
	if s.ctx.Err() == nil {
		s.reach(ended, err, stopErr)
		<-s.ctx.Done()
	} else if _, none := s.runner.(guest.None); !none {
		<-time.After(aftermath)
	}
	s.reach(stopped, nil, errors.Join(stopErr, os.RemoveAll(s.dir)))
}

// prepare makes the volumes, and says which guest the pod has.
func (s *sandbox) prepare() (spec guest.Spec, hasGuest bool, err error) {
	// The modes are the kubelet's: only root may enter a pod's directory, anybody its emptyDirs.
	volumes := filepath.Join(s.dir, "volumes", "kubernetes.io~empty-dir")
	if err := os.MkdirAll(volumes, 0o750); err != nil {
		return spec, false, fmt.Errorf("making the pod's directory: %w", err)
	}
	for _, volume := range s.pod.Spec.Volumes {
		if volume.EmptyDir == nil {
			continue
		}
		dir := filepath.Join(volumes, volume.Name)
		if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
			return spec, false, fmt.Errorf("making volume %s: %w", volume.Name, err)
		}
	}
	if s.specOf == nil {
		return spec, false, nil
	}
	spec, hasGuest, err = s.specOf(s.pod)
	if err != nil || !hasGuest {
		return spec, false, err
	}
	spec.SocketDir = filepath.Join(volumes, libvirtVolume)
	if _, err := os.Stat(spec.SocketDir); err != nil {
		return spec, true, fmt.Errorf("the pod has no emptyDir volume %s for libvirt's socket: %w", libvirtVolume, err)
	}
	return spec, true, nil
}

// start runs the guest, or the program.
func (s *sandbox) start(spec guest.Spec, hasGuest bool) (guest.Guest, error) {
	ctx, cancel := context.WithTimeout(s.ctx, guestStartTimeout)
	defer cancel()
	if hasGuest {
		return s.runner.Start(ctx, spec)
	}
	if s.program != nil {
		program, err := s.program(ctx, s.pod)
		if program != nil || err != nil {
			return program, err
		}
	}
	return guest.None{}.Start(ctx, guest.Spec{})
}

// outcome is why something ended that nobody stopped: nil for a program that has done what it was to do.
func outcome(g guest.Guest) error {
	if program, ok := g.(interface{ Err() error }); ok {
		return program.Err()
	}
	return errors.New("the guest stopped by itself")
}

func (s *sandbox) reach(p progress, failure, leftover error) {
	s.mu.Lock()
	s.now.progress = p
	s.now.since[p] = time.Now()
	s.now.leftover = leftover
	if p == ended {
		s.now.failure = failure
	}
	s.mu.Unlock()
	s.changed()
}

// stop asks the sandbox to end; await waits until nothing is left of it, or says what is.
func (s *sandbox) stop() { s.cancel() }

func (s *sandbox) await() error {
	<-s.done
	return s.state().leftover
}

func (s *sandbox) state() sandboxState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
