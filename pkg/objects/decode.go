// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	k8sjson "sigs.k8s.io/json"

	"corepin.dev/corepin/pkg/quantity"
)

// FieldError is what is wrong with one field of an object.
type FieldError struct {
	// Path is the field, such as spec.containers[0].name; "" for the object itself.
	Path string
	// Problem is the message. It names the field.
	Problem string
}

// Error gives the message.
func (e *FieldError) Error() string { return e.Problem }

// Decode reads the object into a Go value. unknown has a FieldError for each field that the value's type does not
// have and for each field that is given twice. The error of a value that has not its type is a FieldError.
//
// A quantity with an exponent of more than two digits, such as 1e999999999, is refused before it is decoded:
// resource.Quantity would compute all its digits.
func (o *Object) Decode(into any) (unknown []error, err error) {
	target := reflect.TypeOf(into).Elem()
	if quantity.HasHugeExponent(o.JSON) {
		if mistake := mistakeIn(o.JSON, target, ""); mistake != nil {
			return nil, mistake
		}
	}
	strict, err := k8sjson.UnmarshalStrict(o.JSON, into)
	if err != nil {
		if mistake := mistakeIn(o.JSON, target, ""); mistake != nil {
			return nil, mistake
		}
		return nil, err
	}
	for _, problem := range strict {
		var field k8sjson.FieldError
		if errors.As(problem, &field) {
			path := field.FieldPath()
			problem = &FieldError{path, problem.Error() + schemaOf(target).meant(path)}
		}
		unknown = append(unknown, problem)
	}
	return unknown, nil
}

// Fields gives the object as decoded JSON, as unstructured.Unstructured holds it. A field that is given twice is
// an error.
func (o *Object) Fields() (map[string]any, error) {
	var fields map[string]any
	twice, err := o.Decode(&fields)
	if err == nil && len(twice) > 0 {
		err = twice[0]
	}
	if err != nil {
		return nil, err
	}
	return fields, nil
}

// The kinds of values in the words of YAML.
const (
	wantFields = "fields (name: value)"
	wantList   = "a list"
	wantText   = "a string, in quotes"
	wantAmount = "a quantity, such as 2, 500m or 1Gi"
)

var (
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
	amount      = reflect.TypeFor[resource.Quantity]()
)

// mistakeIn finds the first value that is not of its type; nil where all are. It goes down from the object to the
// smallest value that cannot be decoded, so that the field is known whatever the decoder's message says.
func mistakeIn(text []byte, want reflect.Type, path string) *FieldError {
	for want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	if string(text) == "null" {
		return nil
	}
	if reflect.PointerTo(want).Implements(unmarshaler) {
		return unreadable(text, want, path)
	}
	switch want.Kind() {
	case reflect.Struct, reflect.Map:
		if text[0] != '{' {
			return wrongType(path, text, wantFields)
		}
		return mistakeInFields(text, want, path)
	case reflect.Slice:
		if want.Elem().Kind() == reflect.Uint8 {
			return unreadable(text, want, path)
		}
		if text[0] != '[' {
			return wrongType(path, text, wantList)
		}
		for i, m := range members(text) {
			mistake := mistakeIn(text[m.start:m.end], want.Elem(), fmt.Sprintf("%s[%d]", path, i))
			if mistake != nil {
				return mistake
			}
		}
		return nil
	case reflect.Interface:
		return nil
	}
	return unreadable(text, want, path)
}

func mistakeInFields(text []byte, want reflect.Type, path string) *FieldError {
	var fields map[string]reflect.Type
	if want.Kind() == reflect.Struct {
		fields = fieldsOf(want)
	}
	for _, m := range members(text) {
		field, known := fields[m.key]
		if want.Kind() == reflect.Map {
			field = want.Elem()
			known = true
		}
		if !known {
			continue
		}
		mistake := mistakeIn(text[m.start:m.end], field, strings.TrimPrefix(path+"."+m.key, "."))
		if mistake != nil {
			return mistake
		}
	}
	return nil
}

// fieldsOf are the JSON fields of a struct, with their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported():
		case name == "" && field.Anonymous:
			maps.Copy(fields, fieldsOf(field.Type))
		case name == "":
			fields[field.Name] = field.Type
		default:
			fields[name] = field.Type
		}
	}
	return fields
}

// unreadable is why a value that has no fields cannot be decoded; nil where it can be.
func unreadable(text []byte, want reflect.Type, path string) *FieldError {
	if want == amount {
		_, err := quantity.Parse(strings.TrimSpace(bare(text)))
		if err != nil {
			return &FieldError{path, fmt.Sprintf("%s is %s; want %s", path, bare(text), wantAmount)}
		}
	}
	err := json.Unmarshal(text, reflect.New(want).Interface())
	if err == nil {
		return nil
	}
	switch kind := want.Kind(); {
	case reflect.PointerTo(want).Implements(unmarshaler):
		return &FieldError{path, fmt.Sprintf("%s is %s: %v", path, bare(text), err)}
	case kind == reflect.String:
		return wrongType(path, text, wantText)
	case kind == reflect.Bool:
		return wrongType(path, text, "true or false")
	case kind == reflect.Float32 || kind == reflect.Float64:
		return wrongType(path, text, "a number")
	case slices.Contains(wholeNumbers, kind):
		return wrongType(path, text, "a whole number")
	}
	return &FieldError{path, fmt.Sprintf("%s cannot be read: %v", path, err)}
}

var wholeNumbers = []reflect.Kind{reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
	reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64}

// bare is a value without quotes, and not longer than a line.
func bare(text []byte) string {
	value := string(text)
	var unquoted string
	if text[0] == '"' && json.Unmarshal(text, &unquoted) == nil {
		value = unquoted
	}
	const longest = 60
	if len(value) > longest {
		return value[:longest] + "..."
	}
	return value
}

// wrongType says what a value is and what it has to be, in the words of whoever wrote the object.
func wrongType(path string, text []byte, want string) *FieldError {
	found := "a number"
	switch text[0] {
	case '{':
		found = wantFields
	case '[':
		found = wantList
	case '"':
		found = "a string"
	case 't', 'f':
		found = "true or false"
	case 'n':
		found = "null"
	}
	if found == "a number" && want == "a whole number" {
		found = bare(text)
	}
	name := path
	if name == "" {
		name = "the object"
	}
	return &FieldError{path, fmt.Sprintf("%s is %s; want %s", name, found, want)}
}
