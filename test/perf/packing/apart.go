// SPDX-License-Identifier: Apache-2.0

package main

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// appSize is the number of VMs of an application whose VMs prefer to be apart.
const appSize = 3

const appLabel = "app"

// preferApart makes a pod prefer hosts without another pod of its application, as guest clusters do for their masters:
// preferred anti-affinity of weight 100, and a soft topology spread.
func preferApart(pod *corev1.Pod, app string) {
	pod.Labels[appLabel] = app
	ofApp := &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: app}}
	pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, LabelSelector: ofApp},
		}},
	}}
	pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: ofApp,
	}}
}

// together counts the pairs of running VMs of one application, and those of them that share a host.
func (f *fleet) together() (pairs, shared int) {
	apps := map[string][]string{}
	for _, pod := range f.bound {
		app := pod.Labels[appLabel]
		if app == "" {
			continue
		}
		for _, host := range apps[app] {
			pairs++
			if host == pod.Spec.NodeName {
				shared++
			}
		}
		apps[app] = append(apps[app], pod.Spec.NodeName)
	}
	return pairs, shared
}
