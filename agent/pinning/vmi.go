// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"corepin.dev/corepin/pkg/vmi"
)

const (
	// vmiTimeout bounds a question to the API server, which must not hold up pins for long.
	vmiTimeout = 500 * time.Millisecond
	// vmiRetry is the wait before the API server is asked again for a VMI that it did not give.
	vmiRetry = 30 * time.Second
)

// vmiOfPod is the VMI of a launcher pod. What it asks for in CPUs cannot change while the pod runs (a VM that is to have
// more moves to another pod), so the API server is asked once.
type vmiOfPod struct {
	vmi   *vmi.VMI // nil where there is none, or none could be had
	known bool
	next  time.Time // when to ask again while it is not known
}

// read gives the VMI behind the worker's guest; nil where there is none to be had.
func (a *vmiOfPod) read(ctx context.Context, w *worker) *vmi.VMI {
	if w.options.VMI == nil || a.known || w.clock.Now().Before(a.next) {
		return a.vmi
	}
	within, cancel := context.WithTimeout(ctx, vmiTimeout)
	defer cancel()
	v, err := w.options.VMI(within, w.pod)
	if err == nil && v != nil && w.launcher.VMIUID != "" && v.UID != w.launcher.VMIUID {
		v = nil // another VMI of that name; the pod's own is gone
	}
	if err != nil {
		vmiErrors.Inc()
		klog.FromContext(ctx).V(2).Info("placing by the domain alone", "err", err)
		a.next = w.clock.Now().Add(vmiRetry)
		return nil
	}
	a.vmi = v
	a.known = true
	return v
}

// notOwned is the problem of a pod that only looks like a launcher pod. Labels and annotations are the user's, and so is
// the libvirt socket in the pod: it is not dialled unless a VMI owns the pod by its UID, or the configuration names the
// namespace. Where the VMI could not be read, the owner reference has to do.
func (w *worker) notOwned() *problem {
	unowned := w.options.VMI != nil && w.vmi.known && w.vmi.vmi == nil
	if !unowned || slices.Contains(w.options.Config.LauncherNamespaces, w.pod.Namespace) {
		return nil
	}
	return &problem{reason: reasonNotOwned, err: fmt.Errorf("pod %s/%s is labelled as a launcher pod, and no VMI owns it", w.pod.Namespace, w.pod.Name)}
}
