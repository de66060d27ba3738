// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// A monitor that selects no pod, or names a port that the pods do not have, is silently of no effect.
func TestMonitorsScrapeThePodsThatThereAre(t *testing.T) {
	obey(t, unscraped(slices.Concat(build(t, "base"), build(t, "monitoring"))))
}

// ports are the names of the ports of the pods whose labels have all of selector.
func ports(objects []runtime.Object, selector map[string]string) []string {
	var names []string
	for _, object := range objects {
		var template *corev1.PodTemplateSpec
		switch o := object.(type) {
		case *appsv1.Deployment:
			template = &o.Spec.Template
		case *appsv1.DaemonSet:
			template = &o.Spec.Template
		}
		if template == nil || len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(template.Labels)) {
			continue
		}
		for _, port := range template.Spec.Containers[0].Ports {
			names = append(names, port.Name)
		}
	}
	return names
}

// unscraped names monitors, and services behind them, whose port no pod has. It also counts the monitors.
func unscraped(objects []runtime.Object) []string {
	var violations []string
	demand := func(owner, port string, there []string) {
		if !slices.Contains(there, port) {
			violations = append(violations, fmt.Sprintf("%s: no pod that it selects has the port %q; there are %q", owner, port, there))
		}
	}
	monitors := 0
	for _, object := range objects {
		switch o := object.(type) {
		case *PodMonitor:
			monitors++
			for _, e := range o.Spec.PodMetricsEndpoints {
				demand("PodMonitor "+o.Name, e.Port, ports(objects, o.Spec.Selector.MatchLabels))
			}
		case *corev1.Service:
			for _, p := range o.Spec.Ports {
				demand("Service "+o.Name, p.TargetPort.String(), ports(objects, o.Spec.Selector))
			}
		case *ServiceMonitor:
			monitors++
			for _, e := range o.Spec.Endpoints {
				demand("ServiceMonitor "+o.Name, e.Port, servicePorts(objects, o.Spec.Selector.MatchLabels))
			}
		}
	}
	if monitors != 2 {
		violations = append(violations, fmt.Sprintf("there are %d monitors, want one of the agents and one of the schedulers", monitors))
	}
	return violations
}

// servicePorts are the names of the ports of the Services whose labels have all of selector.
func servicePorts(objects []runtime.Object, selector map[string]string) []string {
	var names []string
	for _, object := range objects {
		service, ok := object.(*corev1.Service)
		if !ok || !labels.SelectorFromSet(selector).Matches(labels.Set(service.Labels)) {
			continue
		}
		for _, port := range service.Spec.Ports {
			names = append(names, port.Name)
		}
	}
	return names
}

func TestUnscrapedCanFail(t *testing.T) {
	monitor := &PodMonitor{}
	monitor.Spec.Selector.MatchLabels = map[string]string{"app.kubernetes.io/name": "corepin-agent"}
	monitor.Spec.PodMetricsEndpoints = []endpoint{{Port: "https"}}
	if got := unscraped(append(build(t, "base"), monitor)); len(got) != 2 {
		t.Errorf("%q, want one violation for the port and one for the missing monitor", got)
	}
}
