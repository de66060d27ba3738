// SPDX-License-Identifier: Apache-2.0

// Package skew warns in the log when the API server's Kubernetes is one that this scheduler was not made for.
//
// The scheduler runs all the same: a cluster whose control plane was upgraded keeps its scheduler. The API server is asked
// again from time to time, since it may be upgraded while the scheduler runs.
package skew

import (
	"context"
	"time"

	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/version"
)

const (
	// retry is after how long an API server is asked again that did not answer, and pause one that did.
	retry = 10 * time.Second
	pause = 10 * time.Minute
)

// server is the part of a discovery client that asks the API server for its version.
type server interface {
	ServerVersion() (*apiversion.Info, error)
}

// Watch asks the API server for its version until ctx ends, and logs each answer that is a new one. own is the release of
// Kubernetes that this scheduler is built on.
func Watch(ctx context.Context, own string, of server, clock clock.Clock) {
	logger := klog.FromContext(ctx)
	seen := ""
	for {
		wait := pause
		info, err := of.ServerVersion()
		switch {
		case err != nil:
			wait = retry
			logger.V(2).Info("asking the API server for its version failed, trying again", "err", err)
		case info.GitVersion != seen:
			seen = info.GitVersion
			tell(logger, own, seen)
		}
		select {
		case <-ctx.Done():
			return
		case <-clock.After(wait):
		}
	}
}

func tell(logger klog.Logger, own, of string) {
	warning := version.Skew(own, of)
	if warning == "" {
		logger.Info("the API server has a version that this scheduler may serve", "apiServer", of, "builtOn", own)
		return
	}
	logger.Error(nil, "this scheduler should not serve this API server", "apiServer", of, "builtOn", own, "warning", warning)
}
