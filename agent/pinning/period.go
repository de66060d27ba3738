// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// PeriodAnnotation says, on a VMI, how long its guest is left alone between two looks that find nothing. It is a duration such as
// "30s", or EventsOnly. KubeVirt copies it to the launcher pod when it makes that (generatePodAnnotations in
// pkg/virt-controller/services/template.go, v1.9.0).
const PeriodAnnotation = "corepin.dev/verify-period"

// EventsOnly is the value of PeriodAnnotation with which a guest is looked at after events only, and once an hour. It is the
// default for VMs with realtime vCPUs: a look takes libvirt a millisecond, on a CPU of the guest.
const EventsOnly = "events"

// longestPeriod is the longest time between two looks at a guest: a safeguard beside the events.
const longestPeriod = time.Hour

// periodOf is the time between two looks at a guest that find nothing, and 0 for the usual pace. given reports whether there is
// an annotation, which is text. Nobody gets looks that are more frequent than the configuration's: they would cost the node's
// agent. A wrong annotation counts as none.
func periodOf(realtime bool, text string, given bool, configured time.Duration) (time.Duration, error) {
	period := time.Duration(0)
	if realtime {
		period = longestPeriod
	}
	switch {
	case !given:
		return period, nil
	case text == EventsOnly:
		return longestPeriod, nil
	}
	asked, err := time.ParseDuration(text)
	if err != nil || asked < configured || asked > longestPeriod {
		return period, fmt.Errorf("annotation %s is %.40q; want a duration from %s, which is the agent's verifyPeriod, to %s, or %q; it counts as missing",
			PeriodAnnotation, text, configured, longestPeriod, EventsOnly)
	}
	return asked, nil
}

// setPeriod takes the period of the pod as it is now, and tells once of one that is wrong.
func (w *worker) setPeriod(pod *corev1.Pod) {
	text, given := pod.Annotations[PeriodAnnotation]
	period, err := periodOf(w.launcher.Realtime, text, given, w.options.Config.VerifyPeriod.Duration)
	w.pace.fixed = period
	message := ""
	if err != nil {
		message = err.Error()
	}
	w.tellChanged(&w.wrongPeriod, EventInvalidPeriod, message, "")
}
