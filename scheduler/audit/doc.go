// SPDX-License-Identifier: Apache-2.0

// Package audit compares predictions with what kubelets did.
//
// A pod that was bound on an exact prediction is expected in the node's next reports. When a report shows it, Reported checks
// whether the kubelet, by package admission, could have granted just these CPUs in some order. When the pod ends before that,
// Ended asks the API server whether the kubelet refused it.
//
// The result is a metric, and for a mismatch a log entry with a scenario: the node, the pods, and what the kubelet did. The
// conformance suite runs such a scenario against the kubelet's own code as it is.
//
// Nothing here decides anything: package nodes and the plugin's answers must not depend on it. What cannot be compared is not
// counted. That is so when pods came that this scheduler did not bind, when pods may have held CPUs unseen, and when the kubelet
// has got another configuration.
package audit
