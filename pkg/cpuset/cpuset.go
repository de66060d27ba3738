// SPDX-License-Identifier: Apache-2.0

// Package cpuset is a set of logical CPUs, by kernel id, as a plain value.
//
// A Set is a fixed array of bits. It is copied by assignment, compared with ==, used as a map key, and it never
// allocates, so the prediction in pkg/kubelet/admission can run millions of times in a scheduler's Filter. The
// map-based k8s.io/utils/cpuset, which the kubelet uses, is the better choice wherever speed does not matter. Both have
// the same text form, the kernel's list format: "0-3,8,10-11".
//
// Ids run from 0 to MaxCPUs-1. Parse and New return an error for other ids. The methods of a Set treat them as not in
// the set.
package cpuset

import (
	"fmt"
	"iter"
	"math/bits"
	"strconv"
	"strings"
)

// MaxCPUs is the number of CPU ids a Set can hold: those of the largest machine that Kubernetes is run on, which has
// 1,792 hardware threads. The CustomResourceDefinition lets a report name as many cores; a test compares the two.
const MaxCPUs = 1792

const words = MaxCPUs / 64

// Set is a set of CPU ids. The zero value is the empty set.
type Set [words]uint64

// New returns the set of ids, or an error that names the first id out of range.
func New(ids ...int) (Set, error) {
	var s Set
	for _, id := range ids {
		if id < 0 || id >= MaxCPUs {
			return Set{}, fmt.Errorf("CPU id %d is not between 0 and %d", id, MaxCPUs-1)
		}
		s.Add(id)
	}
	return s, nil
}

// Of is New for ids that are known to be in range. It leaves out others.
func Of(ids ...int) Set {
	var s Set
	for _, id := range ids {
		s.Add(id)
	}
	return s
}

// Parse reads the kernel's list format: ids and ranges separated by commas, "" for the empty set. Blanks around the
// whole text are allowed, since files in /sys end with a newline.
func Parse(text string) (Set, error) {
	var s Set
	text = strings.TrimSpace(text)
	if text == "" {
		return s, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, err := parseRange(part)
		if err != nil {
			return Set{}, fmt.Errorf("parsing CPU list %q: %w", abbreviate(text), err)
		}
		for id := first; id <= last; id++ {
			s.Add(id)
		}
	}
	return s, nil
}

func parseRange(part string) (first, last int, err error) {
	low, high, isRange := strings.Cut(part, "-")
	if first, err = parseID(low); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = parseID(high); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("range %q ends before it begins", part)
	}
	return first, last, nil
}

func parseID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a CPU id", abbreviate(text))
	}
	if id >= MaxCPUs {
		return 0, fmt.Errorf("CPU id %d is above %d, the highest supported", id, MaxCPUs-1)
	}
	return int(id), nil
}

// abbreviate keeps error messages readable when a whole garbage file lands in one.
func abbreviate(text string) string {
	const limit = 60
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "…"
}

// String gives the kernel's list format; Parse reads it back.
func (s Set) String() string {
	var b strings.Builder
	for first := s.Next(0); first >= 0; {
		last := first
		for s.Has(last + 1) {
			last++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(first))
		if last > first {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(last))
		}
		first = s.Next(last + 1)
	}
	return b.String()
}

// MarshalText gives the list format, for JSON and YAML.
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the list format. On an error the set is unchanged.
func (s *Set) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err == nil {
		*s = parsed
	}
	return err
}

// Add puts id into the set. An id out of range changes nothing.
func (s *Set) Add(id int) {
	if id >= 0 && id < MaxCPUs {
		s[id/64] |= 1 << (id % 64)
	}
}

// Remove takes id out of the set.
func (s *Set) Remove(id int) {
	if id >= 0 && id < MaxCPUs {
		s[id/64] &^= 1 << (id % 64)
	}
}

// Has reports whether id is in the set.
func (s Set) Has(id int) bool {
	return id >= 0 && id < MaxCPUs && s[id/64]&(1<<(id%64)) != 0
}

// Len is the number of CPUs in the set.
func (s Set) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// IsEmpty reports whether the set has no CPU.
func (s Set) IsEmpty() bool { return s == Set{} }

// Next is the lowest id in the set that is at least from, or -1.
func (s Set) Next(from int) int {
	if from < 0 {
		from = 0
	}
	for i := from / 64; i < words; i++ {
		w := s[i]
		if i == from/64 {
			w &= ^uint64(0) << (from % 64)
		}
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// First is the lowest id in the set, or -1 when it is empty.
func (s Set) First() int { return s.Next(0) }

// All yields the ids in ascending order.
func (s Set) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, w := range s {
			for ; w != 0; w &= w - 1 {
				if !yield(i*64 + bits.TrailingZeros64(w)) {
					return
				}
			}
		}
	}
}

// List gives the ids in ascending order.
func (s Set) List() []int {
	ids := make([]int, 0, s.Len())
	for id := range s.All() {
		ids = append(ids, id)
	}
	return ids
}

// Union is the set of CPUs in s or t.
func (s Set) Union(t Set) Set {
	for i := range s {
		s[i] |= t[i]
	}
	return s
}

// Intersect is the set of CPUs in both s and t.
func (s Set) Intersect(t Set) Set {
	for i := range s {
		s[i] &= t[i]
	}
	return s
}

// Minus is the set of CPUs in s that are not in t.
func (s Set) Minus(t Set) Set {
	for i := range s {
		s[i] &^= t[i]
	}
	return s
}

// SubsetOf reports whether every CPU of s is in t.
func (s Set) SubsetOf(t Set) bool {
	for i, w := range s {
		if w&^t[i] != 0 {
			return false
		}
	}
	return true
}

// Overlaps reports whether s and t share a CPU.
func (s Set) Overlaps(t Set) bool {
	for i, w := range s {
		if w&t[i] != 0 {
			return true
		}
	}
	return false
}
