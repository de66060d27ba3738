// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"encoding/json"

	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// source is a part of a file that is decoded by itself: a YAML document, a JSON value, or an item of a list.
type source struct {
	file string
	line int // where it begins, from 1
	text []byte
	json bool // it is valid JSON
	item bool // it is one item of a YAML list, with its "- "

	parsed bool
	root   *goyaml.Node
}

// split finds the documents of a file without decoding them, so that a broken one does not affect others. It
// splits at YAML's lines "---" and "...", and between JSON values that follow one another. Documents that have only
// blanks, comments and directives are left out. No input is an error here.
//
// The reader of apimachinery (util/yaml) is not used: it counts no lines, and it gives up at the first broken value.
func split(file string, data []byte) []*source {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	s := splitter{file: file, line: 1}
	start := 0
	line := 1
	for offset := 0; offset < len(data); line++ {
		end := lineEnd(data, offset)
		rest, is := marker(data[offset:end])
		if is {
			s.add(data[start:offset])
			start = offset + rest
			s.line = line
		}
		offset = end
	}
	s.add(data[start:])
	return s.sources
}

// lineEnd is where the line after the one at offset begins.
func lineEnd(data []byte, offset int) int {
	i := bytes.IndexByte(data[offset:], '\n')
	if i >= 0 {
		return offset + i + 1
	}
	return len(data)
}

// marker reports whether a line separates documents, and after how many bytes the next one begins.
func marker(line []byte) (rest int, is bool) {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return 0, false
	}
	return 3, len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0
}

// maxBroken is after how many broken JSON values the rest of the text is one document. The end of a broken
// value is looked for up to the end of the file, so the cost grows with the square of their number.
const maxBroken = 100

// splitter collects the sources of a file.
type splitter struct {
	file    string
	line    int // of the text to be added
	sources []*source
}

// add splits what is between two markers: one YAML document, or JSON values.
func (s *splitter) add(text []byte) {
	values := false // JSON values, and not a YAML document
	for broken := 0; ; {
		text = s.skipBare(text)
		if len(text) == 0 {
			return
		}
		values = values || opens(text[0])
		if !values {
			s.sources = append(s.sources, &source{file: s.file, line: s.line, text: text})
			return
		}
		end := -1
		if opens(text[0]) {
			end = bracketEnd(text, 0)
		}
		valid := end > 0 && json.Valid(text[:end])
		if !valid {
			end = nextValue(text)
			broken++
			if broken > maxBroken {
				end = len(text)
			}
		}
		s.sources = append(s.sources, &source{file: s.file, line: s.line, text: text[:end], json: valid})
		s.line += bytes.Count(text[:end], []byte{'\n'})
		text = text[end:]
	}
}

// skipBare skips blanks, and lines of comments and directives, up to what is worth decoding.
func (s *splitter) skipBare(text []byte) []byte {
	for len(text) > 0 {
		switch content := bytes.TrimLeft(text, " \t\r"); {
		case len(content) == 0:
			return nil
		case opens(content[0]) && len(content) < len(text):
			return content
		case content[0] != '\n' && content[0] != '#' && content[0] != '%':
			return text
		}
		text = text[lineEnd(text, 0):]
		s.line++
	}
	return nil
}

// opens reports whether a JSON object or list begins with c.
func opens(c byte) bool { return c == '{' || c == '[' }

// nextValue is where, after something that is not JSON, the next JSON object seems to begin: at the first
// line that begins with one. What is before may be YAML in its flow style, or is broken.
func nextValue(text []byte) int {
	i := bytes.Index(text[1:], []byte("\n{"))
	if i >= 0 {
		return i + 2
	}
	return len(text)
}
