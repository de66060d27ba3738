package explain

import (
	"fmt"
	"slices"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/kubelet/cpumanager"
	"corepin.dev/corepin/pkg/placement"
)

// Case is a pod that looks for room on one node. It is only read.
type Case struct {
	// NodeName is the node's name.
	NodeName string
	// Node is the node without the pods in flight and without the pod; nil where nothing can be said of it, and
	// then Unknown says why, in a clause: "has no CPU report".
	Node    *admission.Node
	Unknown string
	// Neighbours are the pods that hold exclusive CPUs there, or will: those in flight.
	Neighbours []Neighbour
	// Left tells that pods with exclusive CPUs have left the node since the report: while others are in
	// flight, nobody knows in which order the kubelet saw that.
	Left bool
	// Excluded says why the node is none for the pod whatever CPUs it has, in a clause: "has taint x"; "" if it
	// may be one.
	Excluded string
	// Unlabelled tells that the node has no label cpumanager=true.
	Unlabelled bool
	// Count is kube-scheduler's view of the node and the pod; nil where it is not known or not looked at.
	Count *Count

	Pod admission.Pod
	// Dedicated tells that the pod insists: it is the launcher pod of a dedicated VM. Another pod is content
	// with the label missing, and with the shared pool where there is no CPU manager.
	Dedicated bool
	// Estimate tells that the count alone decides where the kubelet cannot be predicted exactly.
	Estimate bool
	// Guest is what the VM needs of the CPUs that its container Compute gets; nil for a pod without a VM, or
	// with one that is not known.
	Guest   *placement.Guest
	Compute string
}

// Neighbour is a pod with exclusive CPUs on a node.
type Neighbour struct {
	// Name is how to call it: "VM vms/db" or "pod web".
	Name string
	// CPUs are those that the kubelet granted it; of a pod in flight there are none yet.
	CPUs cpuset.Set
	// InFlight is what a pod in flight asks for; nil for a granted one.
	InFlight *admission.Pod
	// Millicores is what it requests in all, as kube-scheduler counts.
	Millicores int64
}

// Obstacle is what stands against a pod on a node, in one word.
type Obstacle string

// Obstacles, in the order in which they are looked for.
const (
	None     Obstacle = ""
	Excluded Obstacle = "excluded"   // CPUs are not the question
	Label    Obstacle = "label"      // the node has no label cpumanager=true
	Counted  Obstacle = "count"      // fewer millicores are left than asked
	Report   Obstacle = "report"     // nothing is known of the node
	Manager  Obstacle = "cpuManager" // the kubelet gives no exclusive CPUs
	Inexact  Obstacle = "inexact"    // the kubelet cannot be predicted exactly
	InFlight Obstacle = "inFlight"   // pods are on their way to it; its report will tell
	Kubelet  Obstacle = "kubelet"    // the kubelet would refuse the pod
	Guest    Obstacle = "guest"      // the CPUs would not do for the VM
)

// outcome is what becomes of a Case.
type outcome struct {
	obstacle Obstacle
	// why is what is known of it, for obstacles that bring words of their own.
	why      string
	decision admission.Decision
}

// outcome judges the case as it stands.
func (c *Case) outcome() outcome {
	switch {
	case c.Excluded != "":
		return outcome{obstacle: Excluded, why: c.Excluded}
	case c.Dedicated && c.Unlabelled:
		return outcome{obstacle: Label}
	case c.missing() > 0:
		return outcome{obstacle: Counted}
	case c.Node == nil:
		return c.unknown(Report, c.Unknown)
	case c.Node.CPUManager.Policy != cpumanager.PolicyStatic:
		if c.Dedicated {
			return outcome{obstacle: Manager}
		}
		return outcome{}
	}
	if why := c.inexact(); why != "" {
		return c.unknown(Inexact, why)
	}
	d := admission.AdmitAfter(c.Node, c.inFlight(), &c.Pod)
	if c.Left && len(c.inFlight()) > 0 && (d.Verdict == admission.Admitted || d.Preemptible) {
		return outcome{InFlight, "other pods have left it in the meantime", d}
	}
	switch d.Verdict {
	case admission.Wait:
		return outcome{InFlight, d.Message, d}
	case admission.Refused:
		return outcome{Kubelet, d.Message, d}
	}
	if err := c.guestFits(&d); err != nil {
		return outcome{Guest, err.Error(), d}
	}
	return outcome{decision: d}
}

// guestFits asks for each of the grants that an admitted pod may get whether the VM can live with it.
func (c *Case) guestFits(d *admission.Decision) error {
	if c.Guest == nil {
		return nil
	}
	for _, grants := range slices.Concat(d.Alternatives, [][]admission.Grant{d.Grants}) {
		for _, grant := range grants {
			if grant.Container != c.Compute {
				continue
			}
			if err := placement.Fit(*c.Guest, grant.CPUs, c.Node.Topology); err != nil {
				return err
			}
		}
	}
	return nil
}

// unknown is the outcome where the kubelet cannot be asked.
func (c *Case) unknown(obstacle Obstacle, why string) outcome {
	if c.Estimate || !c.Dedicated {
		return outcome{}
	}
	return outcome{obstacle: obstacle, why: why}
}

func (c *Case) inexact() string {
	if why := c.Node.Inexact(c.Pod); why != "" {
		return why
	}
	for i := range c.Neighbours {
		n := &c.Neighbours[i]
		if n.InFlight == nil {
			continue
		}
		if why := c.Node.Inexact(*n.InFlight); why != "" {
			return fmt.Sprintf("%s, in flight: %s", n.Name, why) // by the name that a reader may know
		}
	}
	return ""
}

func (c *Case) inFlight() []*admission.Pod {
	var pods []*admission.Pod
	for i := range c.Neighbours {
		if pod := c.Neighbours[i].InFlight; pod != nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// without is the case after the neighbours at these places have gone.
func (c *Case) without(places ...int) Case {
	after := *c
	if c.Node != nil {
		node := *c.Node
		after.Node = &node
	}
	after.Neighbours = nil
	for i, neighbour := range c.Neighbours {
		if !slices.Contains(places, i) {
			after.Neighbours = append(after.Neighbours, neighbour)
			continue
		}
		if after.Node != nil {
			after.Node.Shared = after.Node.Shared.Union(neighbour.CPUs)
		}
		if after.Count != nil {
			count := *after.Count
			count.Requested -= neighbour.Millicores
			after.Count = &count
		}
	}
	return after
}

// asking is the case with the container at a place of the pod asking for so many CPUs of its own; ok is false
// where no VM of the kind could ask that: guest cores have all their threads, and how many CPUs KubeVirt gives an
// isolated emulator can depend on whether the vCPUs are an even number (EmulatorThreadCompleteToEvenParity).
func (c *Case) asking(place, cpus int) (after Case, ok bool) {
	after = *c
	after.Pod.Containers = slices.Clone(c.Pod.Containers)
	change := cpus - after.Pod.Containers[place].CPUs
	after.Pod.Containers[place].CPUs = cpus
	if c.Guest == nil || c.Pod.Containers[place].Name != c.Compute {
		return after, true
	}
	guest := *c.Guest
	guest.VCPUs += change
	after.Guest = &guest
	return after, guest.VCPUs > 0 && change%max(1, guest.ThreadsPerCore) == 0 && (change%2 == 0 || !guest.IsolateEmulator)
}

// on is the case with another configuration of the node.
func (c *Case) on(change func(n *admission.Node)) Case {
	after := *c
	node := *c.Node
	change(&node)
	after.Node = &node
	return after
}
