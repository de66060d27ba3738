// SPDX-License-Identifier: Apache-2.0

package scoring

// Strategy says which of the nodes that can take a VM is preferred. It compares the nodes as they would be with
// the VM: CPUs that can still be granted, and millicores that can still be requested.
//
// Example: two machines have two NUMA nodes each, with four cores of two CPUs. A free core is "..", a taken one "##".
// Both kubelets keep a VM in one NUMA node. The kubelet of node b grants whole cores only (full-pcpus-only), so it
// refuses VMs with an odd number of CPUs. A VM of 4 CPUs is placed, then one of 2:
//
//	                    node a                      node b
//	LeastFragmentation  .. .. .. ..  .. .. .. ..    ## ## ## ..  .. .. .. ..
//	MostAllocated       ## ## ## ..  .. .. .. ..    .. .. .. ..  .. .. .. ..    or the other way round
//	MostFree            ## ## .. ..  .. .. .. ..    ## .. .. ..  .. .. .. ..    or the other way round
//
// Of VMs of 8 CPUs three can still come with LeastFragmentation and MostAllocated, and two with MostFree. Of VMs of
// odd size LeastFragmentation leaves as many as there could be; with the others that is luck.
type Strategy string

const (
	// LeastFragmentation prefers the node that loses the least capacity for other VMs. The loss is counted for each
	// common size of VM (1 to 64 CPUs): the CPUs of the VMs of that size that fit before and do not fit after. A VM of
	// even size goes to a node that grants whole cores only, and a small VM into a NUMA node that is in use already.
	// Among equal nodes the one is preferred that keeps more NUMA nodes, uncore caches and cores entirely free.
	LeastFragmentation Strategy = "LeastFragmentation"
	// MostFree spreads: it prefers the node with the largest share of free exclusive CPUs. VMs have the fewest
	// neighbours, and the failure of a node ends the fewest VMs.
	MostFree Strategy = "MostFree"
	// MostAllocated packs: it prefers the node with the smallest share of free exclusive CPUs. Whole nodes stay empty
	// and can be drained or switched off.
	MostAllocated Strategy = "MostAllocated"
)

// Strategies are all of them.
var Strategies = []Strategy{LeastFragmentation, MostFree, MostAllocated}

// MaxRange is the largest range of the scores of nodes that are predicted exactly. With it and the shipped weight, the worst
// of them still wins over every node that is only estimated.
const MaxRange = 40

// DefaultRange is the range that is used where none is given.
const DefaultRange = 5
