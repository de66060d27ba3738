// SPDX-License-Identifier: Apache-2.0

// Package fragmentation measures how many more dedicated VMs fit, and how many free CPUs no further VM can use. Both are
// gauges, by pool of nodes and by size of the VM, so that a dashboard shows them over time.
//
// # What is counted
//
// A node is filled with VMs of one size until its kubelet or its amounts refuse one more, in the same way and by the same code
// as kubectl corepin capacity does it. A VM of a size is a pod with one container that has so many CPUs and one byte of
// memory. The pods in flight come first. What the kubelet could still grant then is stranded for that size.
//
// A cordoned or tainted node, and one without label cpumanager=true, takes no VM. All its free CPUs are stranded. A node that is
// not predicted exactly, or grants no CPUs, counts as 0 in both: nobody knows what it would take.
//
// # Pools
//
// The pools are the values of one label of the nodes, the argument nodePoolLabel. At most 20 have series of their own. A pool
// that has them keeps them until its last node is gone. All others together are pool "other", and so are the nodes without
// the label. Without the argument all nodes are pool "all".
//
// # Cost
//
// A scheduling cycle does not wait for any of it. Once a minute one goroutine counts the nodes whose report, pods or Node object
// have changed. It ends when a second is over, and goes on at the next minute with the nodes that have waited longest. So the
// series of a cluster that has just got a leader may take some minutes. They stay 0 until all nodes are counted.
// BenchmarkMinute measures 5,000 nodes of 128 CPUs: a minute in which 1 % change takes 26 ms of CPU time, and the first count of
// all nodes 2.5 s.
//
// Only the leader counts, as package term knows it.
//
// # Limits
//
// A change that only time brings is not noticed: a pod in flight that is given up after some minutes counts until the next
// change of its node.
package fragmentation
