// SPDX-License-Identifier: Apache-2.0

package simulation

import "slices"

// The sets of pods that may leave a node, for a search.

// subsets gives try the sets of at most so many pods of a node without which it takes a pod, small ones first. None contains
// another.
func (s *search) subsets(at int, pod *Pod, most int, try func(leaving []*Pod) bool) bool {
	var enough [][]*Pod
	return s.each(s.now[at].movable, most, func(leaving []*Pod) bool {
		if slices.ContainsFunc(enough, func(set []*Pod) bool { return contains(leaving, set) }) || !s.ask(at, leaving, pod).fits {
			return false
		}
		enough = append(enough, leaving)
		return try(leaving)
	})
}

// each gives try the sets of 1 to most pods, the small ones first.
func (s *search) each(pods []*Pod, most int, try func(set []*Pod) bool) bool {
	for size := 1; size <= min(most, len(pods)); size++ {
		if s.extend(nil, pods, size, try) {
			return true
		}
	}
	return false
}

// extend completes a set with so many of pods.
func (s *search) extend(set, pods []*Pod, missing int, try func(set []*Pod) bool) bool {
	if missing == 0 {
		s.looked++
		return try(slices.Clone(set))
	}
	for i := 0; i+missing <= len(pods) && !s.spent(); i++ {
		if s.extend(append(set, pods[i]), pods[i+1:], missing-1, try) {
			return true
		}
	}
	return false
}

// held is how many CPUs of their own pods hold together.
func (s *search) held(pods []*Pod) int {
	cpus := 0
	for _, pod := range pods {
		cpus += s.movers[pod].holds
	}
	return cpus
}

// contains reports whether a set has all pods of a part.
func contains(set, part []*Pod) bool {
	return !slices.ContainsFunc(part, func(pod *Pod) bool { return !slices.Contains(set, pod) })
}
