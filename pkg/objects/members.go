// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"encoding/json"
)

// member is a member of a JSON object, or an element of a JSON list.
type member struct {
	key        string // of an object's member
	start, end int    // of the value in the text
}

// members finds the members of the object or list that text is. The text must be valid JSON without blanks around
// it. It only looks for brackets and quotes, so it is several times faster than a decoder, and it says where
// the values are.
func members(text []byte) []member {
	var all []member
	at := skipBlanks(text, 1)
	for text[at] != '}' && text[at] != ']' {
		m := member{start: at}
		if text[0] == '{' {
			end := valueEnd(text, at)
			m.key = keyOf(text[at:end])
			colon := skipBlanks(text, end)
			m.start = skipBlanks(text, colon+1)
		}
		m.end = valueEnd(text, m.start)
		all = append(all, m)
		at = skipBlanks(text, m.end)
		if text[at] == ',' {
			at = skipBlanks(text, at+1)
		}
	}
	return all
}

func keyOf(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var key string
	_ = json.Unmarshal(quoted, &key) // it is valid
	return key
}

func skipBlanks(text []byte, at int) int {
	for text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t' {
		at++
	}
	return at
}

// valueEnd is where the value that begins at start ends; -1 where brackets or quotes are not closed.
func valueEnd(text []byte, start int) int {
	switch text[start] {
	case '{', '[':
		return bracketEnd(text, start)
	case '"':
		return quoteEnd(text, start)
	}
	end := start
	for end < len(text) && bytes.IndexByte([]byte(",:]} \n\r\t"), text[end]) < 0 {
		end++
	}
	return end
}

// quoteEnd is where the string that begins at start ends.
func quoteEnd(text []byte, start int) int {
	for at := start + 1; at < len(text); at++ {
		switch text[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return -1
}

// bracketEnd is where the object or list that begins at start ends.
func bracketEnd(text []byte, start int) int {
	depth := 0
	for at := start; at < len(text); at++ {
		switch text[at] {
		case '"':
			at = quoteEnd(text, at) - 1
			if at < 0 {
				return -1
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return at + 1
			}
		}
	}
	return -1
}
