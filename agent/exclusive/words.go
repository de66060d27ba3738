// SPDX-License-Identifier: Apache-2.0

package exclusive

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxNames is how many containers or services are named in a message; the others are counted.
const maxNames = 3

// describe says who the containers are, to somebody who may know those of one namespace. An empty namespace is for
// somebody who may know all.
func describe(containers []other, namespace string) string {
	counts := map[kind]int{}
	var named []string
	seen := map[string]bool{}
	for _, o := range containers {
		if seen[o.group.PodUID+o.container] {
			continue // a container with cgroups of its own, as one that runs systemd
		}
		seen[o.group.PodUID+o.container] = true
		counts[o.kind]++
		if len(named) < maxNames && (namespace == "" || o.pod.Namespace == namespace) {
			named = append(named, o.pod.String()+" "+o.container)
		}
	}
	var parts []string
	for _, of := range []struct {
		kind kind
		what string
	}{{sharedPool, "of the shared pool"}, {elsewhere, "with CPUs of other pods"}, {samePod, "of the VM's own pod"}} {
		if counts[of.kind] > 0 {
			parts = append(parts, plural(counts[of.kind], "container")+" "+of.what)
		}
	}
	text := strings.Join(parts, ", ")
	if len(named) > 0 {
		text += " (" + some(named, len(seen)) + ")"
	}
	return text
}

// describeServices says which services there are, by slice: "system.slice: crond.service, sshd.service; user.slice".
func describeServices(groups []string) string {
	var slicesOf []string
	members := map[string][]string{}
	for _, group := range groups {
		top, below, _ := strings.Cut(group, "/")
		if members[top] == nil {
			slicesOf = append(slicesOf, top)
			members[top] = []string{}
		}
		if below != "" {
			members[top] = append(members[top], path.Base(below))
		}
	}
	slices.Sort(slicesOf)
	var parts []string
	for _, top := range slicesOf {
		if len(members[top]) == 0 {
			parts = append(parts, top)
			continue
		}
		slices.Sort(members[top])
		parts = append(parts, top+": "+some(members[top], len(members[top])))
	}
	return strings.Join(parts, "; ")
}

// some names the first of a list, of which there are so many in all.
func some(names []string, all int) string {
	shown := names[:min(len(names), maxNames)]
	text := strings.Join(shown, ", ")
	if all > len(shown) {
		text += ", …"
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
