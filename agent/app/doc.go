// Package app puts the agent together: it knows every part and decides nothing.
//
//	kubelet.Watcher ─┐            ┌─> report.Publisher   NodeCPU
//	hostcpu.Watcher ─┼─ triggers ─┼─> label.Labeller     the Node's labels
//	API informers ───┘            └─> pinning.Controller libvirt
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
//	                                      launcher pods to pin
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
//   - /sys, read-only, which every container has.
//   - The host's /sys/fs/cgroup, read-only, for the containers' cpusets; without it, they are not compared.
//
// What is missing degrades alone, and condition SourcesComplete of the report says what and what follows.
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
// At /metrics of serving.address, with those of Go, of the process and of client-go. All are ALPHA: names and
// labels may change. No label has a value that grows with pods or with time.
//
//	corepin_agent_cpus{state}                  the node's CPUs: online, reserved, shared, granted, free
//	corepin_agent_exact                        1 where the kubelet's decisions are predicted exactly
//	corepin_agent_sources_complete             1 where every source is read
//	corepin_agent_report_delay_seconds         from the agent's noticing a change to its report's being written
//	corepin_agent_report_writes_total{result}  reports written, failed or refused
//	corepin_agent_source_errors_total{source}  failed reads: checkpoint, config, memory, configz, podresources,
//	                                           topology, cgroup
//	corepin_agent_files_watched                1 where the kernel notifies of changes of the kubelet's files
//	corepin_agent_label_action{action}         1 for what is done about the labels: set, giveUp or leave
//	corepin_agent_label_conflicts              labels that somebody else gave another value
//
// Those of the pins are in package pinning.
package app
