// Package app puts the agent together: it knows every part and decides nothing.
//
//	kubelet.Watcher ─┐            ┌─> report.Publisher   NodeCPU
//	hostcpu.Watcher ─┼─ triggers ─┼─> label.Labeller     the Node's labels
//	API informers ───┘            └─> pinning.Controller libvirt
//
// On the left is what is known: the kubelet's files, the host's topology, and from the API server the
// node's pods, its Node, its report and the ConfigMap with the feature gates. On the right are the loops
// that act on it. Every change on the left triggers the loops that it concerns; each then reads what is
// true at that moment. No loop waits for another, or for what it does not need: an API server that is away
// delays reports, not pins; a ConfigMap that may not be read leaves the labels alone, and nothing else.
//
// The agent has no state of its own. It may be killed at any instant; what it did is in the API server and
// in libvirt, and it reads both again.
//
// # What it needs of the API server
//
//	nodes            list, watch          its own Node, by field selector metadata.name: UID, labels,
//	                                      kubelet version
//	nodes            patch                the labels, by server-side apply without force; create is not
//	                                      needed, and must not be given: the apply names the UID
//	pods             list, watch          the pods of its node, by field selector spec.nodeName: which
//	                                      launcher pods to pin
//	configmaps       list, watch          the one with the feature gates, by field selector metadata.name,
//	                                      so resourceNames can be given (kubevirt-config). A ClusterRole
//	                                      spares the need for the namespace to exist
//	nodecpus         get, list, watch     its own report, by field selector metadata.name; get reads it
//	                                      back before the first write
//	nodecpus         create, patch        its own report, by server-side apply, which takes both verbs
//	nodecpus/status  patch                what the report says
//	events           create, patch        on its Node (in namespace default) and on launcher pods (in
//	                                      theirs), so in all namespaces; patch counts repeats
//
// Everything else it reads is on the host.
//
// # What it needs of the host
//
//   - The kubelet's root directory, read-only, at the same path: cpu_manager_state (mode 0600), config.yaml,
//     and the sockets of the launcher pods' libvirts.
//   - The directory of the kubelet's configuration file, where that is elsewhere.
//   - /sys, read-only, which every container has.
package app
