package kubelet

import (
	"context"
	"errors"
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

func (w *Watcher) keepAsking(ctx context.Context) {
	backoff := retries
	for {
		pause := wait.Jitter(askAgain, askJitter)
		if w.RefreshAnswers(ctx) {
			backoff = retries
		} else {
			pause = min(pause, backoff.Step())
		}
		timer := w.options.Clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.ask:
			backoff = retries
		case <-timer.C():
		}
		timer.Stop()
	}
}

// RefreshAnswers asks the kubelet everything now, and reports whether it answered. Only one runs at a time:
// either Run's, or the caller's before Run.
func (w *Watcher) RefreshAnswers(ctx context.Context) (answered bool) {
	before := w.State()
	config, configErr := askConfigz(ctx, w.options.Configz, before.File.Value.CertFile)
	cpus, cpusErr := askAllocatable(ctx, w.options.RootDir)
	if ctx.Err() != nil || errors.Is(configErr, ErrNotYet) {
		return false // neither says anything about the kubelet
	}
	now := w.options.Clock.Now()
	configz := before.Configz.Next(config, configErr, now)
	allocatable := before.Allocatable.Next(cpus, cpusErr, now)
	source.Observe(source.Configz, configErr)
	source.Observe(source.PodResources, cpusErr)
	if !same(before.Configz, configz) || !same(before.Allocatable, allocatable) {
		w.change(func(s *State) {
			s.Configz = configz
			s.Allocatable = allocatable
		})
		klog.FromContext(ctx).V(2).Info("asked the kubelet", "configz", errorText(configErr), "podresources", errorText(cpusErr))
	}
	return configErr == nil && cpusErr == nil
}

func errorText(err error) string {
	if err == nil {
		return "answered"
	}
	return err.Error()
}
