// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/devicemanager"
	"corepin.dev/corepin/pkg/kubelet/memorymanager"
)

// restart restarts the kubelet, lets it admit the pods that are there again, and says where the sides differ.
func (w *walk) restart(s step) string {
	ours, certain := w.restarts()
	if !certain {
		w.down = true
		return ""
	}
	if err := w.kubelet.Restart(s.pluginsLater); (err == nil) != (ours == "") {
		return fmt.Sprintf("the kubelet starts again: %v; we say %q", err, ours)
	}
	if s.result != "" && ours != s.result {
		return fmt.Sprintf("both sides: %q; the scenario wants %q", ours, s.result)
	}
	if w.down = ours != ""; w.down {
		return ""
	}
	all := w.node.Devices
	if s.pluginsLater {
		w.node.Devices = all.Unregistered()
	}
	var gone []devicemanager.Held
	for _, name := range slices.Clone(w.order) {
		held := w.held[name].Devices
		if text := w.admitAgain(name); text != "" {
			return "pod " + name + " again, " + text
		}
		if w.down {
			return ""
		}
		if w.pods[name] == nil {
			gone = append(gone, held...)
		}
	}
	w.kubelet.Ready()
	if s.pluginsLater && all != nil { // Else ours followed each pod.
		w.node.Devices = all.Releasing(gone)
	}
	return ""
}

// restarts is why the kubelet does not start again, or "".
func (w *walk) restarts() (why string, certain bool) {
	var grants []admission.Grant
	var memory []memorymanager.Held
	for _, name := range w.order {
		grants = append(grants, w.grants[name]...)
		memory = append(memory, w.held[name].Memory...)
	}
	why = w.node.Restarts(grants)
	if why != "" || w.node.Memory == nil {
		return why, true
	}
	return w.node.Memory.Restarts(memory, nil)
}

// admitAgain admits a pod that is there once more. A pod that is refused is there no longer.
func (w *walk) admitAgain(name string) string {
	report(w.pods[name], w.started[name])
	p := admission.PodOf(w.pods[name])
	before := w.held[name]
	d, after := w.node.Readmitting(&p, w.grants[name], &before)
	w.seen(w.scenario, p, d, true)
	if d.Reason == admission.ReasonPanic {
		return w.panics(w.pods[name])
	}
	if text := differ(w.kubelet.Add(w.pods[name]), d); text != "" {
		return text
	}
	*w.node = after
	w.grants[name] = d.Grants
	w.held[name] = d.Held
	if d.Verdict != admission.Admitted {
		w.forget(name)
	}
	return ""
}

// report sets the status of containers as the kubelet reports them before it starts again: of a pod that has not started, those
// behind the first init container that ends wait. These have nothing allocated yet.
func report(pod *corev1.Pod, started bool) {
	waits := false
	statusOf := func(c *corev1.Container) corev1.ContainerStatus {
		if waits {
			return corev1.ContainerStatus{Name: c.Name}
		}
		return corev1.ContainerStatus{Name: c.Name, AllocatedResources: c.Resources.Requests}
	}
	pod.Status.InitContainerStatuses = nil
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, statusOf(c))
		waits = waits || !started && c.RestartPolicy == nil
	}
	pod.Status.ContainerStatuses = nil
	for i := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, statusOf(&pod.Spec.Containers[i]))
	}
}
