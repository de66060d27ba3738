// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// reader walks decoded JSON and collects what is wrong, with its path.
type reader struct{ problems []string }

func (r *reader) fail(path, format string, args ...any) {
	r.problems = append(r.problems, path+": "+fmt.Sprintf(format, args...))
}

// node is one value in the tree. The value is nil where the field is missing or null; everything read
// from such a node is the zero value.
type node struct {
	r     *reader
	path  string
	value any
}

// at is the field of that name.
func (n node) at(field string) node {
	child := node{r: n.r, path: strings.TrimPrefix(n.path+"."+field, ".")}
	if n.value == nil {
		return child
	}
	if object, ok := n.value.(map[string]any); ok {
		child.value = object[field]
		return child
	}
	n.isObject()
	return child
}

// isObject reports whether there is an object here. Anything else than an object or nothing is a problem,
// which is noted once.
func (n node) isObject() bool {
	_, ok := n.value.(map[string]any)
	if !ok && n.value != nil {
		problem := n.path + ": must be an object"
		if !slices.Contains(n.r.problems, problem) {
			n.r.problems = append(n.r.problems, problem)
		}
	}
	return ok
}

// list is the elements of a list, none where there is no list.
func (n node) list() []node {
	elements, ok := n.value.([]any)
	if !ok && n.value != nil {
		n.r.fail(n.path, "must be a list")
	}
	nodes := make([]node, 0, len(elements))
	for i, element := range elements {
		nodes = append(nodes, node{r: n.r, path: fmt.Sprintf("%s[%d]", n.path, i), value: element})
	}
	return nodes
}

func (n node) text() string {
	text, ok := n.value.(string)
	if !ok && n.value != nil {
		n.r.fail(n.path, "must be a string")
	}
	return text
}

// optionalText is the text, nil where there is none.
func (n node) optionalText() *string {
	if n.value == nil {
		return nil
	}
	text := n.text()
	return &text
}

func (n node) boolean() bool {
	b, ok := n.value.(bool)
	if !ok && n.value != nil {
		n.r.fail(n.path, "must be true or false, without quotes")
	}
	return b
}

func (n node) texts() map[string]string {
	if !n.isObject() {
		return nil
	}
	object, _ := n.value.(map[string]any)
	out := make(map[string]string, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		out[key] = n.at(key).text()
	}
	return out
}

// number gives a JSON number's text. KubeVirt's CRD takes 2.0 for 2.
func (n node) number() (text string, ok bool) {
	switch number := n.value.(type) {
	case json.Number:
		return number.String(), true
	case int64:
		return strconv.FormatInt(number, 10), true
	case float64:
		return strconv.FormatFloat(number, 'f', -1, 64), true
	}
	return "", false
}

// count reads a whole number of sockets, cores or threads. The largest is that of KubeVirt's CRD, whose fields
// have format int32 although their Go type is uint32.
func (n node) count() uint32 {
	if n.value == nil {
		return 0
	}
	text, ok := n.number()
	var number big.Rat
	if ok && len(text) <= 20 {
		_, ok = number.SetString(text)
	}
	if !ok || len(text) > 20 || !number.IsInt() || number.Sign() < 0 || !number.Num().IsInt64() || number.Num().Int64() > math.MaxInt32 {
		n.r.fail(n.path, "must be a whole number from 0 to %d", math.MaxInt32)
		return 0
	}
	return uint32(number.Num().Int64())
}

// quantity reads an amount, written as a string or as a number.
func (n node) quantity() *Quantity {
	text, ok := n.value.(string)
	if !ok {
		text, ok = n.number()
	}
	if n.value == nil {
		return nil
	}
	if !ok {
		n.r.fail(n.path, "must be an amount such as 2, 1500m or 2Gi")
		return nil
	}
	quantity, err := ParseQuantity(text)
	if err != nil {
		n.r.fail(n.path, "%v", err)
		return nil
	}
	return &quantity
}

// refuseMisspelled refuses a field that differs from the right one in capitals only. The API server would
// drop it without a message, and the VM would run without what its user asked. Instancetypes spell
// dedicatedCPUPlacement, VMIs dedicatedCpuPlacement.
func (n node) refuseMisspelled(right string) {
	object, _ := n.value.(map[string]any)
	for _, field := range slices.Sorted(maps.Keys(object)) {
		if field != right && strings.EqualFold(field, right) {
			n.r.fail(n.path+"."+field, "is not a field; write %s", right)
		}
	}
}
