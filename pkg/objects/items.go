// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"slices"
	"strings"
)

// blockItems finds the items of a YAML list in the form in which kubectl writes it: the line "items:" and items that
// begin with "- " at one indentation. Each item is parsed by itself, so the memory that the parser takes is
// that of the largest item and not that of the whole cluster. ok is false for any other document, and where anything
// in it cannot be read alone: then the document is to be parsed as a whole, and the parser finds the error.
func (s *source) blockItems() (items []Object, ok bool) {
	if s.json {
		return nil, false
	}
	rest, parts := s.splitItems()
	if parts == nil {
		return nil, false
	}
	header, err := rest.toJSON()
	if err != nil || header[0] != '{' || has(header, "items") {
		return nil, false
	}
	list := Object{source: s, JSON: header}
	list.readHeader()
	if list.Err != nil || !strings.HasSuffix(list.Kind, "List") {
		return nil, false
	}
	for i, part := range parts {
		text, err := part.toJSON()
		if err != nil || text[0] != '[' {
			return nil, false
		}
		elements := members(text)
		if len(elements) != 1 {
			return nil, false
		}
		item := Object{source: part, path: "[0]", JSON: text[elements[0].start:elements[0].end], item: i + 1}
		item.readHeader()
		item.inherit(&list)
		items = append(items, item)
	}
	return items, true
}

func has(object []byte, key string) bool {
	return slices.ContainsFunc(members(object), func(m member) bool { return m.key == key })
}

// splitItems cuts a document into its items and the rest of it. There are no parts where it has not the form.
func (s *source) splitItems() (rest *source, parts []*source) {
	before, list := cutLine(s.text, "items:")
	if list == nil {
		return nil, nil
	}
	indent := len(list) - len(bytes.TrimLeft(list, " "))
	at := len(s.text) - len(list)
	start := -1 // of the item, in the text
	line := s.line + bytes.Count(s.text[:at], []byte{'\n'})
	startLine := 0
	finish := func(end int) {
		if start >= 0 {
			parts = append(parts, &source{file: s.file, line: startLine, text: s.text[start:end], item: true})
		}
	}
	for at < len(s.text) {
		end := lineEnd(s.text, at)
		content := bytes.TrimLeft(s.text[at:end], " ")
		depth := end - at - len(content)
		content = bytes.TrimRight(content, "\r\n")
		isItem := depth == indent && (string(content) == "-" || bytes.HasPrefix(content, []byte("- ")))
		switch {
		case isItem:
			finish(at)
			start = at
			startLine = line
		case len(content) == 0 || content[0] == '#' || depth > indent && start >= 0:
		case depth == 0 && start >= 0:
			finish(at)
			return &source{file: s.file, line: s.line, text: append(bytes.Clone(before), s.text[at:]...)}, parts
		default:
			return nil, nil
		}
		at = end
		line++
	}
	finish(at)
	return &source{file: s.file, line: s.line, text: before}, parts
}

// cutLine is what is before a line and what is after it; after is nil where there is no such line.
func cutLine(text []byte, line string) (before, after []byte) {
	for at := 0; at < len(text); {
		end := lineEnd(text, at)
		if string(bytes.TrimRight(text[at:end], " \r\n")) == line {
			return text[:at], text[end:]
		}
		at = end
	}
	return text, nil
}
