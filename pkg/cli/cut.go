package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// place is where something stands in the input.
type place struct {
	file string
	line int // from 1
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// document is one document of a YAML stream, or one value of a JSON stream, not yet decoded.
type document struct {
	at   place
	text []byte
	json bool
	root *goyaml.Node // its fields and their lines, once they were asked for
}

// cut finds the documents of a file without decoding them, so that a broken one does not take others with
// it. It cuts at YAML's lines "---" and "...", and between JSON values that follow one another; documents
// of nothing but blanks, comments and directives are left out. No input is an error here.
func cut(file string, data []byte) []document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var documents []document
	start, line := 0, 1
	at := place{file, 1}
	for offset := 0; offset < len(data); line++ {
		end := lineEnd(data, offset)
		if rest, is := marker(data[offset:end]); is {
			documents = appendDocuments(documents, at, data[start:offset])
			start, at.line = offset+rest, line
		}
		offset = end
	}
	return appendDocuments(documents, at, data[start:])
}

// lineEnd is where the line after the one at offset begins.
func lineEnd(data []byte, offset int) int {
	if i := bytes.IndexByte(data[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(data)
}

// marker tells whether a line divides documents, and after how many bytes the next one begins.
func marker(line []byte) (rest int, is bool) {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return 0, false
	}
	return 3, len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0
}

// mostTorn is after how many torn JSON values the rest is given up, as one document: the end of a torn one is
// looked for up to the end of the file, and the square of a large file is not worth waiting for.
const mostTorn = 100

// appendDocuments appends what stands between two markers: one YAML document, or JSON values.
func appendDocuments(documents []document, at place, text []byte) []document {
	values := false // JSON values, rather than a YAML document
	for torn := 0; ; {
		text = skipBare(&at, text)
		if len(text) == 0 {
			return documents
		}
		values = values || opens(text[0])
		if !values {
			return append(documents, document{at: at, text: text})
		}
		end := valueEnd(text)
		if end > 0 && json.Valid(text[:end]) {
			documents = append(documents, document{at: at, text: text[:end], json: true})
		} else {
			if torn++; torn > mostTorn {
				return append(documents, document{at: at, text: text})
			}
			end = nextValue(text)
			documents = append(documents, document{at: at, text: text[:end]})
		}
		at.line += bytes.Count(text[:end], []byte{'\n'})
		text = text[end:]
	}
}

// skipBare skips blanks, and lines of comments and directives, up to what is worth decoding.
func skipBare(at *place, text []byte) []byte {
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
		at.line++
	}
	return nil
}

// opens tells whether a JSON object or list begins with c.
func opens(c byte) bool { return c == '{' || c == '[' }

// valueEnd is where the JSON object or list at the beginning of text ends, by its brackets; -1 where there is
// none, or no end of it.
func valueEnd(text []byte) int {
	if !opens(text[0]) {
		return -1
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case opens(c):
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// nextValue is where, after something that is not JSON, the next JSON object seems to begin: at the first
// line that begins with one. What is before may be YAML in its flow style, or is broken.
func nextValue(text []byte) int {
	if i := bytes.Index(text[1:], []byte("\n{")); i >= 0 {
		return i + 2
	}
	return len(text)
}
