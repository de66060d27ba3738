// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// The limits of what is parsed as YAML at once. The parser takes about fifty times the memory of the text. An API
// server stores no object above 3 MiB.
const (
	maxYAML     = 16 << 20
	maxExpanded = 64 << 20 // with every alias replaced by what it stands for
)

// toJSON gives the source as valid JSON without blanks around it. An error names the line, where it is known.
func (s *source) toJSON() ([]byte, error) {
	if s.json {
		return s.text, nil
	}
	if len(s.text) > maxYAML {
		return nil, fmt.Errorf("%s: reading YAML or JSON: %d MiB are one YAML object or list, at most %d MiB can be read; "+
			"write it as JSON (kubectl get -o json) or as several documents", s.place(s.line), len(s.text)>>20, maxYAML>>20)
	}
	if err := s.checkAliases(); err != nil {
		return nil, err
	}
	converted, err := yaml.YAMLToJSONStrict(s.text)
	if err != nil && s.overrides() {
		converted, err = yaml.YAMLToJSON(s.text)
	}
	if err != nil {
		return nil, s.parseError(err.Error())
	}
	return bytes.TrimSpace(converted), nil
}

// overrides reports whether the document is sound except for keys beside a merge (<<) that replace merged ones. The
// strict parser takes them for keys that are given twice. kubectl accepts them.
func (s *source) overrides() bool {
	var anything any
	return bytes.Contains(s.text, []byte("<<")) && goyaml.Unmarshal(s.text, &anything) == nil
}

// alias is how an alias can begin.
var alias = regexp.MustCompile(`(?m)(^|[\s,\[{:-])\*[^\s*]`)

// checkAliases refuses a document whose aliases expand to far more than its text. The parser's own check counts
// values, but not how long they are.
func (s *source) checkAliases() error {
	if bytes.IndexByte(s.text, '&') < 0 || !alias.Match(s.text) {
		return nil
	}
	root := s.tree()
	if expandedSize(root, map[*goyaml.Node]int{}) <= maxExpanded {
		return nil
	}
	return fmt.Errorf("%s: reading YAML or JSON: its aliases (*) expand to more than %d MiB; write the values out",
		s.place(s.line), maxExpanded>>20)
}

// expandedSize is the size of a value in bytes with its aliases replaced, or more than maxExpanded. Each anchor is
// measured once. An alias within its own anchor is the parser's to refuse.
func expandedSize(node *goyaml.Node, known map[*goyaml.Node]int) int {
	if node == nil {
		return 0
	}
	if size, measured := known[node]; measured {
		return size
	}
	known[node] = 0
	size := len(node.Value) + 4
	if node.Kind == goyaml.AliasNode {
		size += expandedSize(node.Alias, known)
	}
	for _, child := range node.Content {
		size = min(size+expandedSize(child, known), maxExpanded+1)
	}
	known[node] = size
	return size
}

// parserLine is how the YAML parser names a line of its text. Its errors have no field for it.
var parserLine = regexp.MustCompile(`line (\d+): `)

// parseError takes the line out of a YAML parser's message and makes it one of the file.
func (s *source) parseError(message string) error {
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n"} {
		message = strings.TrimPrefix(message, prefix)
	}
	line := s.line
	first := true
	message = parserLine.ReplaceAllStringFunc(message, func(found string) string {
		number, err := strconv.Atoi(parserLine.FindStringSubmatch(found)[1])
		if err != nil || number < 1 {
			return found
		}
		number += s.line - 1
		if first {
			line = number
			first = false
			return ""
		}
		return fmt.Sprintf("; line %d: ", number)
	})
	message = strings.ReplaceAll(strings.Join(strings.Fields(message), " "), " ; ", "; ")
	if s.tabbed(line - s.line) {
		message += "; there is a tab before the text, and YAML is indented with spaces only"
	}
	return fmt.Errorf("%s: reading YAML or JSON: %s", s.place(line), message)
}

// tabbed reports whether a line of the source, from 0, is indented with a tab.
func (s *source) tabbed(line int) bool {
	lines := bytes.SplitN(s.text, []byte{'\n'}, line+2)
	if line < 0 || line >= len(lines) {
		return false
	}
	text := lines[line]
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	return bytes.IndexByte(indent, '\t') >= 0
}
