// SPDX-License-Identifier: Apache-2.0

// Package heard tells which nodes are heard from.
//
// A report (NodeCPU) is written when something changes. An agent that has died, hangs or is cut off writes nothing, which is
// also what an agent does on a node where nothing happens. So a report needs a sign of life beside it.
//
// # The sign
//
// It is the Ready condition of the agent's own pod. Three parts make it one:
//
//   - The report names the pod that writes it (status.agent: namespace, name, UID). The agent learns that from the API
//     server, which says whose token it has. So the agent may run in any namespace and under any name. No pod of somebody
//     else can stand for it.
//   - The agent is ready only while its report is what the kubelet has (agent/app/vital.go). The kubelet's files were read in
//     the last 30 s, no change waits for 20 s to be written, and its watch at the API server is open.
//   - Whoever says "not ready" is another program. Of a hung agent it is the kubelet, whose probe gets no answer. Of a pod
//     that is gone it is the API server. Of a node that is cut off, or whose kubelet is dead, it is the node lifecycle
//     controller, which marks the pods of a Node that is not Ready.
//
// No clock of a node is read. A Tracker notes by its own clock when it sees a pod become unready, as controllers do with
// Leases. A node whose pod stays unready for 15 s (argument silentAfter) is silent. An agent that runs in no pod gives
// no sign: its node is never silent, and condition Seen is not written.
//
// # What follows
//
// Nothing is predicted from the report of a silent node. The node is estimated, scores below every node that is heard from,
// and no pod waits for its next report. Condition Seen of the report becomes False (column SEEN of kubectl get nodecpus),
// the Node gets an event NodeNotHeard, and corepin_scheduler_silent_nodes counts it. Texts name the moment, and say that
// all else is as of then.
//
// Every replica of corepin-scheduler does this, whether it leads or not. All see the same objects. A write is for one version
// of the report, so of two replicas the second finds that it is done.
//
// # How long it takes
//
// With the shipped times, at the most:
//
//	agent killed, not restarted     2 s kubelet                                  + 15 s = 17 s
//	agent hangs                     5 s period + 2 failures of 5 s               + 15 s = 30 s
//	agent cannot reach the API      30 s HTTP/2 ping + 3 s + 2 failures of 5 s   + 15 s = 58 s
//	node cut off, kubelet dead      50 s grace + 5 s period of the controller    + 15 s = 70 s
//
// test/integration measures each with shorter times, and `make bench-silence` with these: of ten faults of each kind, on 20
// nodes, the longest took 21, 31, 56 and 65 s, until the report said it.
//
// # Why not a Lease
//
// A Lease per node that its agent renews every 20 s would do too. Compared for 15,000 nodes:
//
//	                          Ready condition            Lease for each node
//	writes a second           0                          750
//	bytes written a second    0                          750 x 0.5 KiB = 375 KiB, times the members of etcd
//	watch events a second     0                          750 for each replica of the scheduler
//	memory of the scheduler   6 MiB (TestMemory)         6 MiB and 15,000 Leases of 2 KiB = 35 MiB
//	rights of the agent       none                       create and update Leases
//	hung agent                the kubelet's probe        the Lease
//	reads                     1 a node and start         1 a node and start
//
// The sign does cost something:
//
//   - a ping of 91 bytes on each agent's idle connection every 20 s instead of 30 s: 750 instead of 500 a second, 140 KiB a
//     second with the answers. All that an idle agent sends and receives was measured as 17 bytes a second, which are 250 KiB
//     a second for 15,000.
//   - one SelfSubjectReview at each start of an agent
//   - two writes of a report each time that a node falls silent and comes back
//   - one write of each report at the first start, 20 a second at most
//   - one look into a map for each event of kube-scheduler's pod watch (BenchmarkPodChanged)
//
// The kubelet's probe stays on its node, and was there before.
//
// While the API server is away for more than half a minute every agent becomes unready. When it is back, the kubelets write
// that, and the opposite within seconds, as they do for every pod with such a probe. Nodes are silent for as long.
package heard
