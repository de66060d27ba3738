// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"corepin.dev/corepin/pkg/cli"
)

// A Lease that looks expired is read again for a while. A leader renews every two seconds, so a change shows one whatever
// the clocks say.
const (
	leaseLooks = 5
	leasePause = time.Second
)

// lease reads the Lease of a scheduler.
func (c connection) lease(ctx context.Context, namespace, name string) (*cli.Lease, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	resource := client.Resource(coordinationv1.SchemeGroupVersion.WithResource("leases")).Namespace(namespace)
	var first *cli.Lease
	for range leaseLooks {
		object, err := resource.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("getting Lease %s/%s: %w%s", namespace, name, err, remedy(err))
		}
		var read coordinationv1.Lease
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &read); err != nil {
			return nil, fmt.Errorf("reading Lease %s/%s: %w", namespace, name, err)
		}
		lease := leaseOf(&read.Spec, serverTime(ctx, client))
		switch {
		case lease.Holder == "" || lease.Now.Sub(lease.Renewed) <= lease.Duration:
			return lease, nil
		case first == nil:
			first = lease
		case !lease.Renewed.Equal(first.Renewed):
			lease.Now = lease.Renewed // it is being renewed
			return lease, nil
		}
		if err := pause(ctx, leasePause); err != nil {
			return nil, err
		}
	}
	return first, nil
}

// pause waits, unless the program is to end.
func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-clock.RealClock{}.After(length):
		return nil
	}
}

func leaseOf(spec *coordinationv1.LeaseSpec, now time.Time) *cli.Lease {
	return &cli.Lease{
		Holder:   ptr.Deref(spec.HolderIdentity, ""),
		Acquired: ptr.Deref(spec.AcquireTime, metav1.MicroTime{}).Time,
		Renewed:  ptr.Deref(spec.RenewTime, metav1.MicroTime{}).Time,
		Duration: time.Duration(ptr.Deref(spec.LeaseDurationSeconds, 0)) * time.Second,
		Now:      now,
	}
}

// serverTime is the API server's time, since the clock of this machine may be wrong. A SelfSubjectReview is not stored: its
// creation time is when it was answered (pkg/registry/authentication/selfsubjectreview/rest.go, v1.36.3).
func serverTime(ctx context.Context, client dynamic.Interface) time.Time {
	question := &unstructured.Unstructured{Object: map[string]any{}}
	question.SetAPIVersion(authenticationv1.SchemeGroupVersion.String())
	question.SetKind("SelfSubjectReview")
	reviews := client.Resource(authenticationv1.SchemeGroupVersion.WithResource("selfsubjectreviews"))
	answer, err := reviews.Create(ctx, question, metav1.CreateOptions{})
	if err != nil {
		return clock.RealClock{}.Now()
	}
	answered := answer.GetCreationTimestamp()
	if answered.IsZero() {
		return clock.RealClock{}.Now()
	}
	return answered.Time
}
