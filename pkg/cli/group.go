// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/explain"
)

// The limits of what is printed for people. JSON has all of it.
const (
	maxGroups     = 20
	maxNamedNodes = 3
)

// group is nodes that have the same explanation.
type group struct {
	explain.Explanation
	nodes []string
	// differ reports that the nodes fit, on different CPUs or for different reasons. Explanation is that of the first.
	differ bool
}

// groups puts nodes together that have the same explanation, in the order of the first of each.
func groups(all []explain.Explanation) []*group {
	var list []*group
	byText := map[string]*group{}
	for _, e := range all {
		node := e.Node
		e.Node = ""
		key := fmt.Sprint(e.String(), e.Rule, e.Fits, hintTexts(e.Hints))
		g := byText[key]
		if g == nil {
			g = &group{Explanation: e}
			byText[key] = g
			list = append(list, g)
		}
		g.nodes = append(g.nodes, node)
	}
	return list
}

// merged are the groups with all nodes that fit as one, where they are many groups, and those that fit as estimated as another. On
// which CPUs the pod would be, or how many are left there, is then not what people ask.
func merged(list []*group) []*group {
	var fitting, estimated, others []*group
	for _, g := range list {
		switch {
		case g.Fits && g.Estimated:
			estimated = append(estimated, g)
		case g.Fits:
			fitting = append(fitting, g)
		default:
			others = append(others, g)
		}
	}
	return slices.Concat(asOne(fitting), asOne(estimated), others)
}

// asOne are the groups as one, where they are many.
func asOne(list []*group) []*group {
	if len(list) <= maxNamedNodes {
		return list
	}
	all := &group{Explanation: list[0].Explanation, differ: true}
	for _, g := range list {
		all.nodes = append(all.nodes, g.nodes...)
	}
	return []*group{all}
}

func hintTexts(hints []explain.Hint) []string {
	var texts []string
	for _, hint := range hints {
		texts = append(texts, hint.Text)
	}
	return texts
}

// nodeNames is "n1", "n1, n2" or "n1, n2, n3 and 997 more nodes". To leave out one alone makes nothing shorter.
func nodeNames(nodes []string) string {
	more := len(nodes) - maxNamedNodes
	if more > 1 {
		return fmt.Sprintf("%s and %d more nodes", strings.Join(nodes[:maxNamedNodes], ", "), more)
	}
	return strings.Join(nodes, ", ")
}

// print writes what there is to say of the group.
func (g *group) print(out *printer) {
	hints := g.Hints
	e := g.Explanation
	if g.differ {
		first := e
		first.Node = "there on " + g.nodes[0]
		text := strings.Replace(first.String(), ": fits: ", ": ", 1)
		out.printf("\n%s: fits, %s\n", nodeNames(g.nodes), strings.Replace(text, ": fits, ", ": ", 1))
		return
	}
	e.Node = nodeNames(g.nodes)
	e.Hints = nil
	out.printf("\n%s\n", e)
	if e.Rule != "" {
		out.printf("  %s\n", e.Rule)
	}
	for _, hint := range hints {
		out.printf("  fits if %s\n", hint.Text)
		switch {
		case hint.To != "":
			out.printf("    node %s would take it\n", hint.To)
		case hint.Stops:
			out.printf("    no other node takes it, so it would have to stop\n")
		}
	}
}

// printGroups writes the groups, the first ones in full.
func printGroups(out *printer, all []explain.Explanation) {
	list := merged(groups(all))
	for _, g := range list[:min(len(list), maxGroups)] {
		g.print(out)
	}
	if len(list) <= maxGroups {
		return
	}
	nodes := 0
	for _, g := range list[maxGroups:] {
		nodes += len(g.nodes)
	}
	out.printf("\nand %d more nodes, for other reasons; -o json lists all\n", nodes)
}
