// SPDX-License-Identifier: Apache-2.0

// Package quantity reads amounts such as "1500m" and "2Gi" from texts that nobody has checked.
//
// resource.ParseQuantity (k8s.io/apimachinery, v0.36.3) computes as many digits as the exponent of a text asks for: for
// "1e-2147483647" it takes hours, and others take the memory of the machine. A node's report, a file and a VM can hold such
// a text. Objects of Kubernetes' own kinds that come from an API server cannot, since it has read them in the same way.
package quantity

import (
	"bytes"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/api/resource"
)

// shape allows exponents of two digits. The largest suffix, E, is an exponent of 18.
var shape = regexp.MustCompile(`^[+-]?[0-9.]{1,40}([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$`)

// Parse reads an amount. It takes bounded time for any text, and refuses amounts of more than 40 digits, and exponents of more
// than two.
func Parse(text string) (resource.Quantity, error) {
	if !shape.MatchString(text) {
		return resource.Quantity{}, fmt.Errorf("%.40q is not an amount; write a number such as 2, 1500m or 2Gi", text)
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return resource.Quantity{}, fmt.Errorf("%q is not an amount; write a number such as 2, 1500m or 2Gi: %w", text, err)
	}
	return q, nil
}

// HasHugeExponent reports whether a number in the text, in quotes or not, has an exponent of three digits or more. A text
// without such a number can be decoded into objects that have amounts.
func HasHugeExponent(text []byte) bool {
	for at := 1; at+3 < len(text); at++ {
		if text[at]|0x20 != 'e' || !isDigit(text[at-1]) && text[at-1] != '.' {
			continue
		}
		begin := at - 1
		for begin >= 0 && (isDigit(text[begin]) || text[begin] == '.') {
			begin--
		}
		if begin >= 0 && isSign(text[begin]) {
			begin--
		}
		end := at + 1
		if isSign(text[end]) {
			end++
		}
		digits := end
		for end < len(text) && isDigit(text[end]) {
			end++
		}
		starts := begin < 0 || bytes.IndexByte([]byte(" \t\n\":,["), text[begin]) >= 0
		ends := end == len(text) || bytes.IndexByte([]byte(" \t\n\",}]"), text[end]) >= 0
		if starts && ends && end-digits > 2 {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isSign(c byte) bool { return c == '+' || c == '-' }
