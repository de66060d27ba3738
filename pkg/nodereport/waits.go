// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Waits are the parts of the last minute that vCPUs of a guest were ready to run and waited for a CPU, by the vCPU's number.
type Waits map[int]float64

const (
	// maxWaits is how many vCPUs of a guest a report has.
	maxWaits = 16
	// othersWait is where a report left vCPUs out.
	othersWait = "..."
)

// String gives them in the form of the report, in percent: "1=3.1 4=12".
func (w Waits) String() string {
	var parts []string
	for _, id := range w.Longest(maxWaits) {
		parts = append(parts, strconv.Itoa(id)+"="+percent(w[id]))
	}
	if len(w) > maxWaits {
		parts = append(parts, othersWait)
	}
	return strings.Join(parts, " ")
}

// Longest gives the vCPUs that waited longest, no more than n, in the order of their numbers.
func (w Waits) Longest(n int) []int {
	ids := slices.SortedFunc(maps.Keys(w), func(a, b int) int { return cmp.Or(cmp.Compare(w[b], w[a]), cmp.Compare(a, b)) })
	ids = ids[:min(n, len(ids))]
	slices.Sort(ids)
	return ids
}

// ParseWaits reads what String gives.
func ParseWaits(text string) (Waits, error) {
	all := Waits{}
	for _, part := range strings.Fields(text) {
		if part == othersWait {
			break
		}
		name, value, _ := strings.Cut(part, "=")
		id, err := strconv.ParseUint(name, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("reading waits: %q: want a vCPU's number, = and a part in percent", part)
		}
		share, err := strconv.ParseFloat(value, 64)
		if err != nil || !(share >= 0 && share <= 100) {
			return nil, fmt.Errorf("reading waits: %q: want a number between 0 and 100", part)
		}
		all[int(id)] = share / 100
	}
	return all, nil
}

// Percent is a part as people read it: "3.1 %", "12 %".
func Percent(share float64) string { return percent(share) + " %" }

func percent(share float64) string {
	digits := 1
	if 100*share >= 10 {
		digits = 0
	}
	return strconv.FormatFloat(100*share, 'f', digits, 64)
}
