// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// Where is the place of the object, for messages: "vm.yaml:7" or "list.yaml:12: item 3".
func (o *Object) Where() string { return o.whereIs("") }

// Wrap puts the place before an error about the object. It is the line of the field that the error is about: that of
// a FieldError, or the first field that the text names.
func (o *Object) Wrap(err error) error {
	var field *FieldError
	if errors.As(err, &field) {
		return o.WrapAt(field.Path, err)
	}
	return o.WrapAt(fieldPath.FindString(err.Error()), err)
}

// fieldPath is a field in a message, such as spec.containers[0].name.
var fieldPath = regexp.MustCompile(`\b(?:spec|status|metadata)(?:\.[A-Za-z]\w*|\[\d+\])+`)

// WrapAt puts the place of a field before an error about the object. Where the object does not have the whole path,
// it is the place of what it has of it.
func (o *Object) WrapAt(path string, err error) error {
	return fmt.Errorf("%s: %w", o.whereIs(path), err)
}

func (o *Object) whereIs(path string) string {
	where := o.source.place(o.source.lineOf(strings.Trim(o.path+"."+path, ".")))
	if o.item > 0 {
		return fmt.Sprintf("%s: item %d", where, o.item)
	}
	return where
}

func (s *source) place(line int) string { return fmt.Sprintf("%s:%d", s.file, line) }

// lineOf is the line of a field in the file.
func (s *source) lineOf(path string) int {
	if path == "" || s.item && path == "[0]" {
		return s.line
	}
	line := 1
	node := s.tree()
	for part := range strings.SplitSeq(strings.TrimPrefix(strings.ReplaceAll(path, "[", ".["), "."), ".") {
		key, value := child(node, part)
		if key == nil {
			break
		}
		line = key.Line
		node = value
	}
	return s.line + line - 1
}

// tree is the source as the YAML parser's nodes, which know their lines; nil where it does not parse. JSON is YAML.
func (s *source) tree() *goyaml.Node {
	if !s.parsed {
		s.parsed = true
		var document goyaml.Node
		if len(s.text) <= maxYAML && goyaml.Unmarshal(s.text, &document) == nil && len(document.Content) > 0 {
			s.root = document.Content[0]
		}
	}
	return s.root
}

// child is a field of an object, or the element "[i]" of a list, and where it begins; nil for none.
func child(node *goyaml.Node, part string) (key, value *goyaml.Node) {
	if node == nil {
		return nil, nil
	}
	if node.Kind == goyaml.SequenceNode {
		i, err := strconv.Atoi(strings.Trim(part, "[]"))
		if err != nil || i < 0 || i >= len(node.Content) {
			return nil, nil
		}
		return node.Content[i], node.Content[i]
	}
	if node.Kind != goyaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == part {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}
