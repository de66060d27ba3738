// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"corepin.dev/corepin/pkg/kubelet/admission"
)

// RestartSafety says whether a pod may come to a node whose kubelet, started again with the pod there, would fail pods that
// run. Kubelets up to 1.36 with full-pcpus-only do that on every node that is more than half full: see admission.Readmit.
type RestartSafety uint8

const (
	// RestartIgnored: it may, and nobody looks.
	RestartIgnored RestartSafety = iota
	// RestartPreferred: it may, and LostAtRestart is counted.
	RestartPreferred
	// RestartRequired: it may not.
	RestartRequired
)

// lostAtRestart is how many pods would be lost with the new pod there, itself included, and names one of them. Where the new
// pod's CPUs depend on pods in flight, it is the most of all cases. Pods in flight are taken to be admitted after it.
func (n *Node) lostAtRestart(d *Demand, decision *admission.Decision) (lost int, name string) {
	alternatives := decision.Alternatives
	if len(alternatives) == 0 {
		alternatives = [][]admission.Grant{decision.Grants}
	}
	for _, grants := range alternatives {
		if len(grants) == 0 {
			continue // it would be lost in no case, and takes nothing from others
		}
		now, who := n.lostWith(d, grants)
		if now > lost {
			lost = now
			name = who
		}
	}
	return lost, name
}

// running is a pod that runs with CPUs of its own.
type running struct {
	name string
	asks *admission.Pod
	held []admission.Grant
	// besides is what else it holds.
	besides admission.Held
}

func (n *Node) lostWith(d *Demand, grants []admission.Grant) (lost int, name string) {
	node := n.Kubelet.Granting(grants)
	pods := []running{{name: "the pod itself", asks: &d.Pod, held: grants}}
	for i := range n.Pods {
		pod := &n.Pods[i]
		switch {
		case pod.Asks == nil:
		case pod.InFlight:
			coming, after := node.Admitting(pod.Asks)
			node = after
			if coming.Verdict == admission.Admitted {
				pods = append(pods, running{pod.Name, pod.Asks, coming.Grants, coming.Held})
			}
		case len(pod.Grants) > 0:
			pods = append(pods, running{pod.Name, pod.Asks, pod.Grants, pod.Held})
		}
	}
	for i := range pods {
		if pods[i].isLost(&node) {
			lost++
			name = pods[i].name
		}
	}
	return lost, name
}

// isLost reports whether the kubelet of a node, started again, would refuse the pod. It may ask before the device plugins
// have registered, or after.
func (r *running) isLost(n *admission.Node) bool {
	if admission.Readmit(n, r.asks, r.held, &r.besides).Verdict == admission.Refused {
		return true
	}
	if n.Devices == nil {
		return false
	}
	early := *n
	early.Devices = n.Devices.Unregistered()
	return admission.Readmit(&early, r.asks, r.held, &r.besides).Verdict == admission.Refused
}
