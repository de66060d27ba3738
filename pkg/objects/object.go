// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Object is one Kubernetes object of a file.
type Object struct {
	// APIVersion, Kind, Namespace, Name and GenerateName are what the object says; empty where it does not.
	APIVersion, Kind, Namespace, Name, GenerateName string
	// JSON is the whole object as JSON. It is nil where the file has no JSON or YAML at this place.
	JSON []byte
	// Err says why the object cannot be read, and begins with its place; nil for an object that can be read.
	Err error

	source *source
	path   string // of the object in its source; "" where it is the whole source
	item   int    // its position in a list, from 1; 0 for an object that is in no list
}

// Read finds the objects in the contents of a file. The name of the file is for messages only.
func Read(file string, data []byte) []Object {
	var objects []Object
	for _, s := range split(file, data) {
		objects = append(objects, s.objects()...)
	}
	return objects
}

// SetGeneratedNames gives each object that has only a generateName the first name with a number that no other
// object of its kind and namespace has: web-1, web-2. An API server chooses at random; here the same input gives
// the same names.
func SetGeneratedNames(objects []Object) {
	type key struct{ kind, namespace, name string }
	taken := map[key]bool{}
	last := map[key]int{}
	for _, o := range objects {
		taken[key{o.Kind, o.Namespace, o.Name}] = true
	}
	for i := range objects {
		o := &objects[i]
		stem := key{o.Kind, o.Namespace, o.GenerateName}
		for o.Name == "" && o.GenerateName != "" {
			last[stem]++
			name := o.GenerateName + strconv.Itoa(last[stem])
			if !taken[key{o.Kind, o.Namespace, name}] {
				o.Name = name
			}
		}
	}
}

// Group is the part of APIVersion before the slash, or all of it: for a misspelled "kubevirt.io" the intended group.
func (o *Object) Group() string {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	return group
}

// objects gives the object of a source, or those of its list.
func (s *source) objects() []Object {
	if items, ok := s.blockItems(); ok {
		return items
	}
	text, err := s.toJSON()
	if err != nil {
		return []Object{{source: s, Err: err}}
	}
	if text[0] == '[' {
		return s.items(&Object{}, "", text)
	}
	o := Object{source: s, JSON: text}
	o.readHeader()
	if o.Err != nil || !strings.HasSuffix(o.Kind, "List") {
		return []Object{o}
	}
	for _, m := range members(text) {
		if m.key == "items" && text[m.start] == '[' {
			return s.items(&o, "items", text[m.start:m.end])
		}
	}
	o.Err = o.WrapAt("items", fmt.Errorf("reading %s: want a list in items", o.Kind))
	return []Object{o}
}

// items are the objects of a list, which is at path in the source. An API server leaves apiVersion and kind out of
// the items of a list of one kind.
func (s *source) items(list *Object, path string, text []byte) []Object {
	elements := members(text)
	objects := make([]Object, 0, len(elements))
	inFile := source{file: s.file, line: s.line, json: true}
	counted := 0 // bytes of the source whose lines are counted
	for i, m := range elements {
		item := Object{source: s, path: fmt.Sprintf("%s[%d]", path, i), JSON: text[m.start:m.end:m.end], item: i + 1}
		if s.json { // the item is a part of the source: it gets its own place
			begin := cap(s.text) - cap(text) + m.start
			inFile.line += bytes.Count(s.text[counted:begin], []byte{'\n'})
			counted = begin
			own := inFile
			own.text = item.JSON
			item.source = &own
			item.path = ""
		}
		item.readHeader()
		item.inherit(list)
		objects = append(objects, item)
	}
	return objects
}

func (o *Object) inherit(list *Object) {
	if o.Kind == "" && o.APIVersion == "" {
		o.APIVersion = list.APIVersion
		o.Kind = strings.TrimSuffix(list.Kind, "List")
	}
}

var errNoObject = errors.New("want an object with apiVersion, kind and metadata, there is something else")

// readHeader reads what every object has. It does not look at the rest.
func (o *Object) readHeader() {
	if o.JSON[0] != '{' {
		o.Err = o.Wrap(errNoObject)
		return
	}
	for _, m := range members(o.JSON) {
		value := o.JSON[m.start:m.end]
		switch m.key {
		case "apiVersion":
			o.readText(&o.APIVersion, m.key, value)
		case "kind":
			o.readText(&o.Kind, m.key, value)
		case "metadata":
			o.readMetadata(value)
		}
	}
}

func (o *Object) readMetadata(text []byte) {
	if text[0] != '{' {
		if string(text) != "null" {
			o.Err = o.Wrap(wrongType("metadata", text, wantFields))
		}
		return
	}
	for _, m := range members(text) {
		value := text[m.start:m.end]
		switch m.key {
		case "namespace":
			o.readText(&o.Namespace, "metadata.namespace", value)
		case "name":
			o.readText(&o.Name, "metadata.name", value)
		case "generateName":
			o.readText(&o.GenerateName, "metadata.generateName", value)
		}
	}
}

func (o *Object) readText(into *string, path string, value []byte) {
	*into = ""
	if err := json.Unmarshal(value, into); err != nil {
		o.Err = o.Wrap(wrongType(path, value, wantText))
	}
}
