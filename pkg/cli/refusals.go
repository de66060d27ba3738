// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"corepin.dev/corepin/pkg/explain"
	"corepin.dev/corepin/pkg/verdict"
)

// refusals are nodes that refuse a pod alike. Their JSON is in a line of fit -o json.
type refusals struct {
	Nodes   []string `json:"nodes"`
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	// Facts is what is free and what is missing there, with numbers, and Rule the kubelet's rule that the pod breaks.
	Facts string `json:"facts,omitempty"`
	Rule  string `json:"rule,omitempty"`
	// Hints are changes after which it fits, each by itself.
	Hints []explain.Hint `json:"hints,omitempty"`
}

// refusals are why the nodes refuse a pod that none admits, in the order of the nodes.
func (a *answer) refusals() []*refusals {
	var list []*refusals
	known := map[string]*refusals{}
	for i := range a.trials {
		r := a.trials[i].refusal(a.demand)
		key := fmt.Sprintf("%q", append([]string{r.Reason, r.Message, r.Facts, r.Rule}, hintTexts(r.Hints)...))
		if known[key] == nil {
			known[key] = r
			list = append(list, r)
		}
		known[key].Nodes = append(known[key].Nodes, a.trials[i].machine.name)
	}
	return list
}

// refusal is why one node refuses a pod, without the node's name. With the kubelet's other checks (pkg/kubelet/predicates), what
// helps is left to the command explain, which makes those checks too.
func (t *trial) refusal(d *demand) *refusals {
	r := &refusals{Reason: t.reason, Message: t.message}
	if t.verdict.Obstacle != verdict.Kubelet {
		return r
	}
	asked := verdict.Demand{Pod: d.pod}
	if t.machine.fit != nil {
		why := explain.Outline(&t.node, &asked)
		r.Facts = why.Facts
		r.Rule = why.Rule
		return r
	}
	why := explain.Of(&t.node, &asked)
	r.Facts = why.Facts
	r.Rule = why.Rule
	r.Hints = why.Hints
	return r
}
