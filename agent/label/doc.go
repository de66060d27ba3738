// SPDX-License-Identifier: Apache-2.0

// Package label labels the Node where the kubelet's CPU manager runs: cpumanager=true, and
// kubevirt.io/cpumanager=true, which KubeVirt's launcher pods select by.
//
// Both are set on positive evidence only, and given up on positive evidence only. A label that flickers
// kills virtual machines: a kubelet that restarts checks the node selector of running pods, and fails those
// whose label is gone. So a file that cannot be read, or a feature gate that is not known, changes nothing.
//
//	KubeVirt's heartbeat   gate CPUManager   CPU manager runs    the labels are
//	alive                  whatever          whatever            left to virt-handler
//	none                   on                yes, static         set
//	none                   on                no, positively      given up
//	none                   on                not known           left as they are
//	none                   off               whatever            given up
//	none                   not known         whatever            left as they are
//
// "Given up" is not "removed". The agent sets labels by server-side apply under a field manager of its own,
// and gives up what that field manager owns; the API server removes what nobody else owns. A label that a
// person set stays, also where the agent had set it too. A label with another value than "true" was set by somebody
// else. It is never overwritten; an event (LabelConflict) and the log name it.
//
// A newer agent may have set a third label under the same field manager. An older one in a rollout keeps it.
//
// The gate is read live from two places. The ConfigMap is how KubeVirt's first versions had it: key
// feature-gates, a list separated by commas. The KubeVirt object is how it is today:
// spec.configuration.developerConfiguration, featureGates and disabledFeatureGates. What is disabled there is
// off; otherwise the gate is on if either names it. Where neither says anything, a setting decides.
//
// virt-handler writes both labels every minute or two, and makes them "false" where it cannot read what it
// needs. Two writers would fight. So where its heartbeat (annotation kubevirt.io/heartbeat) is alive, the
// agent leaves the labels alone, unless labels.overrideKubeVirt is set, and reports where it would have set another
// value. A heartbeat older than ten minutes is not alive: KubeVirt is gone, and the agent takes the labels over.
//
// Condition Labelled of the node's report says what was done, and why.
package label
