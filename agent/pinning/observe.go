// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/cputopology"
	"corepin.dev/corepin/pkg/launcher"
	"corepin.dev/corepin/pkg/vmi"
)

// presence is what libvirt says of a guest that could not be read. It is 0 where there was no reason to ask, or
// the guest was read.
type presence uint8

const (
	// gone: libvirt answers, and no guest runs.
	gone presence = iota + 1
	// inTransit: it is being started, migrated or saved, and libvirt lets nobody touch it.
	inTransit
	// notReached: nothing answers at the socket.
	notReached
	// failed: libvirt did not answer in time, or with an error.
	failed
)

// observation is what one look has read. It decides nothing.
type observation struct {
	at time.Time
	// deleted reports whether the pod is being deleted, and unlisted whether only the node knows of it.
	deleted  bool
	unlisted bool
	// granted is what the kubelet granted to the compute container; empty where it is not known, or where denied says why
	// there is none.
	granted cpuset.Set
	// denied is why libvirt is not asked at all, though the VM is dedicated; nil where it is asked.
	denied *problem
	// compute is the name of the compute container.
	compute string
	host    *cputopology.Topology
	// vmi is what the VM asks for; nil where that is not known.
	vmi *vmi.VMI
	// guest is the running guest; nil where presence says why there is none, or problem why it could not be read.
	guest    *Guest
	presence presence
	problem  *problem
	// container and housekeeping are the cpusets of the compute container and of KubeVirt's child cgroup in it; empty where
	// there is none to be seen. unreadable is why they cannot be read.
	container    cpuset.Set
	housekeeping cpuset.Set
	unreadable   error
	// confiner is the cgroup above the container's that keeps it off granted CPUs; "" where none does.
	confiner string
}

// observe reads all that a look needs, and nothing that it does not need: a pod that was granted nothing is not dialled.
func (w *worker) observe(ctx context.Context) *observation {
	o := &observation{at: w.clock.Now(), compute: w.launcher.Compute, host: w.options.Topology()}
	pod := w.currentPod()
	w.setPeriod(pod)
	o.deleted = pod.DeletionTimestamp != nil
	o.unlisted = pod.Name == ""
	o.granted, o.denied = w.grant()
	if o.denied == nil && (o.granted.IsEmpty() || o.host == nil) {
		return o
	}
	if !o.unlisted {
		o.vmi = w.vmi.read(ctx, w)
	}
	if o.vmi != nil && !o.vmi.Dedicated() {
		o.denied = nil // the pod looks dedicated by a node selector of its user's
		return o
	}
	if o.denied == nil {
		o.denied = w.notOwned()
	}
	if o.denied != nil {
		w.hangUp()
		return o
	}
	w.readGuest(ctx, o)
	if o.guest == nil {
		return o
	}
	if w.options.CPUSet != nil {
		o.container, _, o.unreadable = w.options.CPUSet(pod, w.launcher.Compute)
	}
	if w.options.Confiner != nil && !o.container.IsEmpty() && !o.granted.SubsetOf(o.container) {
		o.confiner = w.options.Confiner(pod, w.launcher.Compute, o.granted)
	}
	if w.options.Housekeeping != nil && o.unreadable == nil {
		o.housekeeping, o.unreadable = w.options.Housekeeping(pod, w.launcher.Compute)
	}
	return o
}

// grant is what the kubelet granted to the compute container. It is empty without a problem where the kubelet may have
// granted CPUs that are not known.
func (w *worker) grant() (cpuset.Set, *problem) {
	grants, current := w.options.Granted()
	granted := grants[w.pod.UID][w.launcher.Compute]
	if !granted.IsEmpty() {
		return granted, nil
	}
	causes := launcher.Problems(w.pod)
	if len(causes) == 0 && !current {
		return cpuset.Set{}, nil
	}
	if len(causes) == 0 {
		causes = []string{"the kubelet granted none, so its CPU manager's policy is not static, or was not when the pod started"}
	}
	return cpuset.Set{}, &problem{reason: reasonNoGrant, err: fmt.Errorf("VM %s asked dedicated CPUs, but container %s has no exclusive ones: %s",
		w.launcher.VMI, w.launcher.Compute, strings.Join(causes, "; "))}
}

// readGuest connects if need be, and reads the guest.
func (w *worker) readGuest(ctx context.Context, o *observation) {
	if w.connection == nil {
		connection, err := w.options.Hypervisor.Connect(ctx, Place{
			PodUID: w.pod.UID, PodDir: filepath.Join(w.options.KubeletRootDir, "pods", string(w.pod.UID)), CPUs: o.granted.Len(),
		})
		if err != nil {
			o.presence, o.problem = w.absence(ctx, fmt.Errorf("connecting to libvirt: %w", err))
			return
		}
		w.connection = connection
	}
	guest, err := w.connection.Guest(ctx, w.domain)
	if err != nil {
		o.presence, o.problem = w.absence(ctx, fmt.Errorf("reading the guest: %w", err))
		return
	}
	o.guest = guest
}

// absence sorts an error of a Hypervisor. That no guest runs, or that none may be touched for now, is no problem.
func (w *worker) absence(ctx context.Context, err error) (presence, *problem) {
	switch {
	case errors.Is(err, ErrNoGuest):
		klog.FromContext(ctx).V(4).Info("no guest to pin", "err", err)
		return gone, nil
	case errors.Is(err, ErrInTransit):
		klog.FromContext(ctx).V(4).Info("the guest is left alone for now", "err", err)
		return inTransit, nil
	case errors.Is(err, ErrUnreachable):
		return notReached, &problem{reason: reasonUnreachable, err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return failed, &problem{reason: reasonTimeout, err: fmt.Errorf("no answer within %s: %w", w.options.Config.Deadline.Duration, err)}
	case errors.Is(err, ErrUnreadable):
		return failed, &problem{reason: reasonUnreadable, err: err}
	}
	return failed, &problem{reason: reasonLibvirt, err: err}
}
