// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"math"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"corepin.dev/corepin/pkg/quantity"
)

// Quantity is an amount of CPU or memory, with the text the user wrote for messages.
type Quantity struct {
	resource.Quantity
	// Text is what the user wrote, without blanks around it.
	Text string
}

// ParseQuantity reads a quantity as the API server does: blanks around it are ignored.
func ParseQuantity(text string) (Quantity, error) {
	text = strings.TrimSpace(text)
	q, err := quantity.Parse(text)
	if err != nil {
		return Quantity{}, err
	}
	return Quantity{Quantity: q, Text: text}, nil
}

// MustParseQuantity is ParseQuantity for texts known to be valid; it panics on others.
func MustParseQuantity(text string) Quantity {
	q, err := ParseQuantity(text)
	if err != nil {
		panic(err)
	}
	return q
}

// abbreviated is the length, in characters, beyond which messages shorten a text of the user's.
const abbreviated = 40

func abbreviate(text string) string {
	characters := []rune(text)
	if len(characters) > abbreviated {
		return string(characters[:abbreviated]) + "..."
	}
	return text
}

// given reports whether an amount counts as given: KubeVirt takes 0 for "not given". Negative amounts are
// given, and refused by rules of their own.
func given(q *Quantity) bool { return q != nil && q.Sign() != 0 }

func negative(q *Quantity) bool { return q != nil && q.Sign() < 0 }

// Count is the amount rounded up to a whole number. It saturates at the largest int64, where
// resource.Quantity's own Value wraps around.
func (q *Quantity) Count() int64 {
	if q.Cmp(*resource.NewQuantity(beyondCounting, resource.DecimalSI)) > 0 {
		return math.MaxInt64
	}
	return q.Value()
}

// beyondCounting is more than any machine has of anything, and small enough that its thousandths fit an int64.
const beyondCounting = math.MaxInt64 / 1000

// whole reports whether q is a whole number of CPUs. KubeVirt rounds up to thousandths first
// (vmi-create-admitter.go:898), so that 1999999999n is 2, and its arithmetic wraps around.
func whole(q *Quantity, strictness Strictness) bool {
	if strictness == KubeVirt {
		return q.Value()*1000 == q.MilliValue()
	}
	if q.Count() == math.MaxInt64 {
		return true // refused for being too many, whatever its fraction
	}
	if strictness == Standard {
		return q.Value()*1000 == q.MilliValue()
	}
	return q.Cmp(*resource.NewQuantity(q.Value(), resource.DecimalSI)) == 0
}

// equal compares two amounts. Only Strict compares them exactly; KubeVirt rounds both up to whole numbers
// first (vmi-create-admitter.go:827, :883).
func equal(a, b *Quantity, strictness Strictness) bool {
	switch {
	case strictness == KubeVirt:
		return a.Value() == b.Value()
	case strictness == Strict, a.Count() == math.MaxInt64, b.Count() == math.MaxInt64:
		return a.Cmp(b.Quantity) == 0
	}
	return a.Count() == b.Count()
}
