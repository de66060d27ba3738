// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Schema is the names of an object's fields, each with the fields below it. A list has the fields of its elements. A
// field with a nil Schema can hold anything.
type Schema map[string]Schema

// Unknown finds the fields that a schema does not have, in a value of decoded JSON. The message of each says which field
// may be meant, if one is near.
func (s Schema) Unknown(value any) []*FieldError { return s.unknown(value, "", s) }

func (s Schema) unknown(value any, path string, root Schema) []*FieldError {
	var found []*FieldError
	switch value := value.(type) {
	case []any:
		for i, element := range value {
			found = append(found, s.unknown(element, fmt.Sprintf("%s[%d]", path, i), root)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			at := strings.TrimPrefix(path+"."+name, ".")
			below, known := s[name]
			switch {
			case !known:
				found = append(found, &FieldError{at, "is no known field" + root.meant(at)})
			case below != nil:
				found = append(found, below.unknown(value[name], at, root)...)
			}
		}
	}
	return found
}

// meant asks whether another field is meant by the unknown one at a path; "" where none is near. It looks for a similar
// name beside it, then for the same name further down, then for the same name anywhere.
func (s Schema) meant(path string) string {
	beside := s
	parts := strings.Split(path, ".")
	name := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		part, _, _ = strings.Cut(part, "[")
		beside = beside[part]
	}
	near := ""
	for _, candidate := range slices.Sorted(maps.Keys(beside)) {
		if similar(name, candidate) && (near == "" || distance(name, candidate) < distance(name, near)) {
			near = candidate
		}
	}
	if near == "" {
		near = beside.find(name)
	}
	if near == "" {
		near = s.find(name)
	}
	if near == "" {
		return ""
	}
	return "; is " + near + " meant?"
}

// find is the shortest path to a field with that name below the fields of s; "" where there is none.
func (s Schema) find(name string) string {
	shortest := ""
	for _, field := range slices.Sorted(maps.Keys(s)) {
		path := ""
		for _, below := range slices.Sorted(maps.Keys(s[field])) {
			if strings.EqualFold(below, name) {
				path = field + "." + below
			}
		}
		if path == "" {
			further := s[field].find(name)
			if further != "" {
				path = field + "." + further
			}
		}
		if path != "" && (shortest == "" || strings.Count(path, ".") < strings.Count(shortest, ".")) {
			shortest = path
		}
	}
	return shortest
}

// similar reports whether a name may be a misspelling of another: other capitals, a few other letters, or a part of it.
func similar(name, other string) bool {
	const longest = 64 // of a field's name
	if len(name) < 3 || len(name) > longest {
		return false
	}
	name = strings.ToLower(name)
	other = strings.ToLower(other)
	return distance(name, other) <= len(other)/4 || strings.HasPrefix(other, name) || len(other) > 3 && strings.HasPrefix(name, other)
}

// distance is how many letters have to be inserted, removed or replaced to make a name of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// schemaOf is the schema of a Go type. Types that decode themselves, and maps, can hold anything.
func schemaOf(t reflect.Type) Schema {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	s := Schema{}
	for name, field := range fieldsOf(t) {
		s[name] = schemaOf(field)
	}
	return s
}
