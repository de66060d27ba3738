// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/simulation"
)

// The limits of what is printed for people. JSON has all of it.
const (
	maxMoves    = 30
	maxCauses   = 4
	progressBy  = 1000
	unknownCPUs = "CPUs not known: the node is estimated"
)

// whatIfReport collects what became of VMs.
type whatIfReport struct {
	out      *printer
	err      io.Writer
	json     bool
	total    int // of VMs that are to come, for progress; 0 where that is not told
	outcomes []whatIfLine
	notes    []string
	rooms    []string
	lost     int
}

// whatIfLine is a line of what-if -o json.
type whatIfLine struct {
	VM   string            `json:"vm"`
	From string            `json:"from,omitempty"`
	Node string            `json:"node"`
	CPUs map[string]string `json:"cpus"`
	// Estimated reports that the node cannot be predicted exactly.
	Estimated bool               `json:"estimated,omitempty"`
	Causes    []simulation.Cause `json:"causes,omitempty"`

	grants []admission.Grant
	asks   int
}

func (r *whatIfReport) placed(o simulation.Outcome) { r.moved("", o) }

func (r *whatIfReport) moved(from string, o simulation.Outcome) {
	line := whatIfLine{VM: o.Pod.Name, From: from, Node: o.Node, CPUs: map[string]string{}, Estimated: o.Estimated, Causes: o.Causes,
		grants: o.Grants, asks: o.Pod.Demand.Pod.PeakCPUs()}
	for _, grant := range o.Grants {
		line.CPUs[grant.Container] = grant.CPUs.String()
	}
	if o.Node == "" {
		r.lost++
	}
	r.outcomes = append(r.outcomes, line)
	if r.total > progressBy && len(r.outcomes)%progressBy == 0 {
		fmt.Fprintf(r.err, "%d of %d VMs\n", len(r.outcomes), r.total)
	}
}

func (r *whatIfReport) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// finish writes the answer, and gives the number of VMs without a place.
func (r *whatIfReport) finish(w *whatIf) (lost int) {
	if r.json {
		for i := range r.outcomes {
			r.out.encode(&r.outcomes[i])
		}
		return r.lost
	}
	if len(r.outcomes) == 0 {
		r.out.printf("%s\n", r.sum())
	} else {
		r.out.printf("%s; order %s, seed %d, %s\n", r.sum(), w.order, w.seed, w.strategy)
	}
	for _, note := range r.notes {
		r.out.printf("%s\n", note)
	}
	if len(r.rooms) > 0 {
		r.out.printf("the new nodes take, each size by itself and before the VMs below: %s\n", strings.Join(r.rooms, ", "))
	}
	if len(r.outcomes) > maxMoves {
		r.printSums()
		return r.lost
	}
	for i := range r.outcomes {
		r.out.printf("%s\n", r.outcomes[i].text())
	}
	return r.lost
}

// sum is the answer in a few words.
func (r *whatIfReport) sum() string {
	switch {
	case len(r.outcomes) == 0:
		return "no VM looks for a place"
	case r.lost == 0 && len(r.outcomes) == 1:
		return "1 VM finds a place"
	case r.lost == 0:
		return fmt.Sprintf("all %d VMs find a place", len(r.outcomes))
	}
	return fmt.Sprintf("%d of %d VMs find NO place", r.lost, len(r.outcomes))
}

func (l *whatIfLine) text() string {
	text := fmt.Sprintf("  %s (%d CPUs): ", l.VM, l.asks)
	if l.From != "" {
		text += l.From + " -> "
	}
	switch {
	case l.Node == "":
		return text + "no place: " + causesText(l.Causes)
	case l.Estimated:
		return text + l.Node + ": " + unknownCPUs
	}
	return text + l.Node + ": " + strings.TrimPrefix(admission.Decision{Verdict: admission.Admitted, Grants: l.grants}.String(), "admitted: ")
}

func causesText(causes []simulation.Cause) string {
	shown := len(causes)
	if shown > maxCauses+1 { // to leave out one alone makes nothing shorter
		shown = maxCauses
	}
	var texts []string
	for _, cause := range causes[:shown] {
		texts = append(texts, fmt.Sprintf("%d × %s", cause.Nodes, cause.Why))
	}
	if shown < len(causes) {
		texts = append(texts, fmt.Sprintf("%d other causes", len(causes)-shown))
	}
	return strings.Join(texts, ", ")
}

// printSums writes how many VMs go to each node, and why others go nowhere.
func (r *whatIfReport) printSums() {
	byNode := map[string]int{}
	byCause := map[string]int{}
	for i := range r.outcomes {
		line := &r.outcomes[i]
		if line.Node == "" {
			byCause[fmt.Sprintf("of %d CPUs: %s", line.asks, causesText(line.Causes))]++
		} else {
			byNode[line.Node]++
		}
	}
	byCount := map[int][]string{}
	for _, name := range slices.Sorted(maps.Keys(byNode)) {
		byCount[byNode[name]] = append(byCount[byNode[name]], name)
	}
	counts := slices.SortedFunc(maps.Keys(byCount), func(a, b int) int { return cmp.Compare(b, a) })
	for _, n := range counts[:min(len(counts), maxGroups)] {
		r.out.printf("  %d on %s\n", n, nodeNames(byCount[n]))
	}
	if len(counts) > maxGroups {
		r.out.printf("  fewer on others\n")
	}
	causes := slices.SortedFunc(maps.Keys(byCause), func(a, b string) int { return cmp.Or(byCause[b]-byCause[a], cmp.Compare(a, b)) })
	for _, cause := range causes[:min(len(causes), maxGroups)] {
		r.out.printf("  %d without a place, %s\n", byCause[cause], cause)
	}
	r.out.printf("-o json lists each\n")
}

// jsonOf is a value as JSON.
func jsonOf(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
