// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/pkg/version"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// partLabel is on the pods of each part, with the part's name.
const partLabel = "app.kubernetes.io/name"

const schedulerPart = "corepin-scheduler"

// parts are the programs that run in pods.
var parts = []string{schedulerPart, "corepin-agent"}

// versions says which versions of each part run, by the tags of their images, and which kubelets.
func (s *survey) versions() []Line {
	var lines []Line
	for _, part := range parts {
		tags := map[string]int{}
		ready := 0
		pods := 0
		for i := range s.Pods {
			pod := &s.Pods[i]
			if pod.Labels[partLabel] != part || ended(pod) {
				continue
			}
			pods++
			if isReady(pod) {
				ready++
			}
			for _, tag := range tagsOf(pod) {
				tags[tag]++
			}
		}
		if pods == 0 {
			lines = append(lines, Line{"versions", Note, fmt.Sprintf("%s: no pod has label %s=%s, so its version is not known", part, partLabel, part), ""})
			continue
		}
		line := Line{Subject: "versions", State: OK, Text: fmt.Sprintf("%s: %s; %d of %s ready", part, tally(tags), ready, count(pods, "pod"))}
		if len(tags) > 1 {
			line.State = Note
			line.Text += "; an update is under way, or has stopped"
			line.More = "kubectl get pods -A -o wide -l " + partLabel + "=" + part
		}
		lines = append(lines, line)
	}
	kubelets := map[string]int{}
	for i := range s.Reports {
		kubelets[s.Reports[i].Status.KubeletVersion]++
	}
	lines = append(lines, Line{Subject: "versions", State: OK, Text: fmt.Sprintf("kubelets: %s; this program: %s", tally(kubelets), s.Version)})
	return append(lines, s.skew()...)
}

// builtOn finds, in the tag of a scheduler's image, the minor of the Kubernetes that it is built on. hack/images makes the tags.
var builtOn = regexp.MustCompile(`-k(1\.[0-9]+)(@|$)`)

// skew says which schedulers should not serve this API server.
func (s *survey) skew() []Line {
	found := map[string]bool{}
	for i := range s.Pods {
		pod := &s.Pods[i]
		if pod.Labels[partLabel] != schedulerPart || ended(pod) {
			continue
		}
		for _, tag := range tagsOf(pod) {
			match := builtOn.FindStringSubmatch(tag)
			if match != nil {
				found[version.Skew(match[1], s.Server)] = true
			}
		}
	}
	delete(found, "")
	var lines []Line
	for _, warning := range slices.Sorted(maps.Keys(found)) {
		lines = append(lines, Line{"versions", Problem, warning, "kubectl get pods -A -o wide -l " + partLabel + "=" + schedulerPart})
	}
	return lines
}

// tagsOf are the tags, or digests, of the images of a part's own containers.
func tagsOf(pod *corev1.Pod) []string {
	var tags []string
	for i := range pod.Spec.Containers {
		image := pod.Spec.Containers[i].Image
		name := image[strings.LastIndex(image, "/")+1:]
		base, tag, tagged := strings.Cut(name, ":")
		if !tagged {
			tag = "latest"
		}
		if slices.Contains(parts, base) || len(pod.Spec.Containers) == 1 {
			tags = append(tags, tag)
		}
	}
	return tags
}

// tally is "v1.2.0 (3), v1.1.0 (1)", the most frequent first.
func tally(counts map[string]int) string {
	keys := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(keys, func(a, b string) int { return counts[b] - counts[a] })
	var texts []string
	for _, key := range keys {
		name := key
		if name == "" {
			name = "unknown"
		}
		texts = append(texts, fmt.Sprintf("%s (%d)", name, counts[key]))
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// The reasons of condition Labelled that agents give where nothing is wrong. CPUManagerDoesNotRun is said by exact.
const (
	labelledRuns  = "CPUManagerRuns"
	labelledLeft  = "LeftToKubeVirt"
	labelledIsNot = "CPUManagerDoesNotRun"
)

// gate says who sets the feature gate and the labels, in the agents' own words.
func (s *survey) gate() []Line {
	var fine, wrong []finding
	for i := range s.Reports {
		c := meta.FindStatusCondition(s.Reports[i].Status.Conditions, v1alpha1.ConditionLabelled)
		f := finding{node: s.Reports[i].Name}
		if c != nil {
			f.why = c.Message
		}
		switch {
		case s.silent[f.node]:
		case c == nil:
			f.why = "the agent has not said yet whether the feature gate CPUManager is on"
			wrong = append(wrong, f)
		case c.Reason == labelledRuns, c.Reason == labelledLeft:
			fine = append(fine, f)
		case c.Reason == labelledIsNot:
		default:
			wrong = append(wrong, f)
		}
	}
	return append(grouped("gate", OK, fine, nothing), grouped("gate", Problem, wrong, describe)...)
}

func nothing(string) string { return "" }

// drifted says where threads of guests are not where they belong.
func (s *survey) drifted() []Line {
	found := s.conditions(v1alpha1.ConditionDrifted, metav1.ConditionTrue)
	if len(found) == 0 {
		return []Line{{"drifted", OK, "no VM's threads are on other CPUs than its own", ""}}
	}
	return grouped("drifted", Problem, found, func(string) string { return "kubectl corepin pins" })
}

// restarts says where a restart of the kubelet would cost VMs.
func (s *survey) restarts() []Line {
	return grouped("restarts", Note, s.conditions(v1alpha1.ConditionRestartSafe, metav1.ConditionFalse), describe)
}

// conditions are the messages of the nodes that are heard from and have a condition with a status.
func (s *survey) conditions(kind string, status metav1.ConditionStatus) []finding {
	var found []finding
	for i := range s.Reports {
		c := meta.FindStatusCondition(s.Reports[i].Status.Conditions, kind)
		if c != nil && c.Status == status && !s.silent[s.Reports[i].Name] {
			found = append(found, finding{s.Reports[i].Name, c.Message})
		}
	}
	return found
}
