// SPDX-License-Identifier: Apache-2.0

// Package app puts the agent together: it knows every part and decides nothing.
//
//	kubelet.Watcher ─┐            ┌─> report.Publisher   NodeCPU
//	hostcpu.Watcher ─┼─ triggers ─┼─> label.Labeller     the Node's labels
//	API informers ───┘            ├─> exclusive.Watcher  the host's cgroups
//	                              └─> pinning.Controller libvirt
//
// On the left is what is known: the kubelet's files, the host's topology, and from the API server the
// node's pods, its Node, its report and the ConfigMap with the feature gates. On the right are the loops
// that act on it. Every change on the left triggers the loops that it concerns; each then reads what is
// true at that moment. No loop waits for another, or for what it does not need. An API server that is away
// delays reports, not pins. A ConfigMap that may not be read leaves the labels alone, and nothing else.
//
// The agent has no state of its own. It may be killed at any instant; what it did is in the API server and
// in libvirt, and it reads both again.
//
// # What it needs of the API server
//
//	nodes/configz    get                  asked by its own kubelet, when the agent reads what that runs with
//	nodes            list, watch          its own Node, by field selector metadata.name: UID, labels,
//	                                      kubelet version
//	nodes            patch                the labels, by server-side apply without force; create is not
//	                                      needed, and must not be given: the apply names the UID
//	pods             list, watch          the pods of its node, by field selector spec.nodeName: which
//	                                      launcher pods to pin, and whether the kubelet would admit
//	                                      each again
//	configmaps       list, watch          the one with the feature gates, by field selector metadata.name,
//	                                      so resourceNames can be given (kubevirt-config). A ClusterRole
//	                                      spares the need for the namespace to exist
//	kubevirts        list, watch          the feature gates of KubeVirt's own object, where that kind is
//	customresource-  list, watch          defined; the one definition, by resourceNames, tells whether it is
//	definitions
//	nodecpus         get, list, watch     its own report, by field selector metadata.name; get reads it
//	                                      back before the first write
//	nodecpus         create, patch        its own report, by server-side apply, which takes both verbs
//	nodecpus/status  patch                what the report says
//	selfsubjectreviews  create            whose token it has: the pod that its report names. Everybody may
//	virtualmachineinstances  get          the VMI behind a launcher pod, by the name the pod tells: what it
//	                                      asks for its emulator and IO threads
//	events           create, patch        on its Node (in namespace default) and on launcher pods and their
//	                                      VMIs (in theirs), so in all namespaces; patch counts repeats
//
// The token must be that of a pod: manifests/base/agent/confinement.yaml lets it write the objects of the
// node that it names, and no others, and events in that node's name only. Everything else the agent reads is on the
// host.
//
// # What it needs of the host
//
//   - The kubelet's root directory, read-only, at the same path: cpu_manager_state and memory_manager_state
//     (mode 0600), config.yaml, pki (the certificate the kubelet serves with), the podresources socket, and the
//     sockets of the launcher pods' libvirts.
//   - The kubelet's port at the node's InternalIP, for /configz. The host's network is not needed for that.
//   - The directory of the kubelet's configuration file, where that is elsewhere.
//   - /sys and /proc, read-only, which every container has: the machine's CPUs and memory, its settings, and what each CPU
//     spent its time on.
//   - The host's /sys/fs/cgroup, read-only, for the cpusets of containers and services; without it, they are not compared,
//     and nobody says who else may run on a VM's CPUs.
//
// What is missing degrades alone, and condition SourcesComplete of the report says what and what follows.
//
// # When it is ready
//
// The pod is ready while its report is what the kubelet has (vital.go). That is the report's sign of life: corepin-scheduler
// takes a node whose agent is not ready for silent, and estimates it. Package heard of the scheduler says what follows.
//
// # What it costs the API server
//
// A pod with exclusive CPUs costs one write when it starts and one when it ends, be its containers one or ten:
// what a kubelet writes within 100 ms is one report. A VM costs one more, when its guest is pinned. An idle node costs none; nothing is written to say
// that nothing happened. The kubelet asks the API server who the agent is when it asks for /configz: when a
// kubelet may have started, and every ten minutes.
//
// # Metrics
//
// At /metrics of serving.address, with those of Go, of the process and of client-go. manifests/monitoring/metrics.md has
// every one with its labels and its meaning. All are ALPHA: names and labels may change. No label has a value
// that grows with pods or with time.
package app
