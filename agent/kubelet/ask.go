// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/source"
)

// A kubelet's configuration is fixed when it starts. So it is asked when one may have started, until it
// answers, and rarely besides. Each question about the configuration costs the API server two requests, by
// which the kubelet authenticates and authorizes the agent.
var (
	// retries is the pause after each question that was not answered.
	retries = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 12, Cap: askAgain}
)

const (
	// askAgain is the time between two questions that nothing has asked for.
	askAgain = 10 * time.Minute
	// askJitter spreads the agents of a cluster, as a part of askAgain.
	askJitter = 0.2
	// askDevicesAgain is the time between two questions for devices that nothing has asked for. They cost the API server
	// nothing, and the node as much as there are devices.
	askDevicesAgain = 5 * time.Minute
)

// ErrNotYet is wrapped by ConfigzOptions.Address while the agent itself does not know enough to ask; Ask
// when it does.
var ErrNotYet = errors.New("not known yet")

// Ask makes the Watcher ask the kubelet again, soon. It never blocks.
func (w *Watcher) Ask() {
	select {
	case w.ask <- struct{}{}:
	default: // it is about to
	}
}

// AskDevices makes the Watcher ask the kubelet for its devices again, soon. It never blocks.
func (w *Watcher) AskDevices() {
	select {
	case w.askDevices <- struct{}{}:
	default: // it is about to
	}
}

func (w *Watcher) keepAsking(ctx context.Context) {
	backoff := retries
	for ctx.Err() == nil {
		pause := wait.Jitter(askAgain, askJitter)
		if w.RefreshAnswers(ctx) {
			backoff = retries
		} else {
			pause = min(pause, backoff.Step())
		}
		if w.waitToAsk(ctx, pause) {
			backoff = retries
		}
	}
}

// waitToAsk waits until the kubelet is to be asked everything, because of Ask or since the pause is over. Meanwhile it asks
// for devices. It reports whether it was because of Ask.
func (w *Watcher) waitToAsk(ctx context.Context, pause time.Duration) (asked bool) {
	timer := w.options.Clock.NewTimer(pause)
	defer timer.Stop()
	devices := w.options.Clock.NewTicker(askDevicesAgain)
	defer devices.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.ask:
			return true
		case <-timer.C():
			return false
		case <-w.askDevices:
			w.RefreshDevices(ctx)
		case <-devices.C():
			w.RefreshDevices(ctx)
		}
	}
}

// RefreshAnswers asks the kubelet everything now, and reports whether it answered. Only one runs at a time:
// either Run's, or the caller's before Run.
func (w *Watcher) RefreshAnswers(ctx context.Context) (answered bool) {
	before := w.State()
	config, configErr := askConfigz(ctx, w.options.Configz, before.File.Value.CertFile)
	if errors.Is(configErr, ErrNotYet) || ctx.Err() != nil {
		return false // it says nothing about the kubelet
	}
	allocatableErr := w.RefreshDevices(ctx)
	if ctx.Err() != nil {
		return false
	}
	configz := before.Configz.Next(config, configErr, w.options.Clock.Now())
	source.Observe(source.Configz, configErr)
	if !same(before.Configz, configz) {
		w.change(func(s *State) { s.Configz = configz })
		klog.FromContext(ctx).V(2).Info("asked the kubelet", "configz", errorText(configErr), "podresources", errorText(allocatableErr))
	}
	return configErr == nil && allocatableErr == nil
}

// RefreshDevices asks the kubelet now which CPUs and devices it may grant. It is called as RefreshAnswers is.
func (w *Watcher) RefreshDevices(ctx context.Context) error {
	before := w.State()
	answer, err := askAllocatable(ctx, w.options.RootDir)
	if ctx.Err() != nil {
		return err // it says nothing about the kubelet
	}
	seen := fingerprint(w.seed, answer)
	if err == nil && w.answered && seen == w.answer {
		source.Observe(source.PodResources, nil)
		return nil
	}
	var may allocatable
	if err == nil {
		may, err = decodeAllocatable(answer)
		if err != nil {
			err = fmt.Errorf("reading what the kubelet says of its resources: %w", err)
		}
	}
	w.answered = err == nil
	w.answer = seen
	now := w.options.Clock.Now()
	cpus := before.Allocatable.Next(may.cpus, err, now)
	devices := before.Served.Next(may.devices, err, now)
	source.Observe(source.PodResources, err)
	if !same(before.Allocatable, cpus) || !same(before.Served, devices) {
		w.change(func(s *State) {
			s.Allocatable = cpus
			s.Served = devices
		})
	}
	return err
}

func errorText(err error) string {
	if err == nil {
		return "answered"
	}
	return err.Error()
}
