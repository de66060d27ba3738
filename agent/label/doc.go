// Package label tells by labels on the Node that the kubelet's CPU manager runs there: cpumanager=true, and
// kubevirt.io/cpumanager=true, which KubeVirt's launcher pods select by.
//
// Both are set on positive evidence only, and given up on positive evidence only. A label that flickers
// kills virtual machines: a kubelet that restarts checks the node selector of running pods, and fails those
// whose label is gone. So a file that cannot be read, or a feature gate that is not known, changes nothing.
//
//	gate CPUManager   CPU manager runs    the labels are
//	on                yes, static         set
//	on                no, positively      given up
//	on                not known           left as they are
//	off               whatever            given up
//	not known         whatever            left as they are
//
// "Given up" is not "removed". The agent sets labels by server-side apply under a field manager of its own,
// and gives up what that field manager owns; the API server removes what nobody else owns. A label that a
// person set stays, also where the agent had set it too. A label with another value than "true" is somebody
// else's word: it is never overwritten, but told as an event (LabelConflict) and in the log.
//
// The gate is read live from a ConfigMap, as KubeVirt's first versions did: key feature-gates, a list
// separated by commas.
package label
