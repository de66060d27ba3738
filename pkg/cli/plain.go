package cli

import (
	"bytes"
	"slices"
	"strings"
)

// plainYAML converts a YAML document to JSON if it is written as plainly as most are: fields and lists by
// indentation or, within a line, in brackets; keys without quotes; texts of one line and of ASCII; no anchors,
// tags or block texts. Of all else it says nothing but that it is not plain, and leaves it to the parser.
//
// It is there for its speed, several times the parser's: what a stream of reports and pods takes is the reading
// of YAML. What it does say is what the parser says; a fuzz test holds it to that.
func plainYAML(text []byte) (converted []byte, plain bool) {
	for _, c := range text {
		if (c < ' ' || c > '~') && c != '\n' {
			return nil, false
		}
	}
	p := plainReader{text: text, out: make([]byte, 0, len(text))}
	p.next()
	if p.indent == 0 && p.fields(0, 0) && p.line == nil {
		return p.out, true
	}
	return nil, false
}

// plainReader reads line by line. Its methods tell whether what they have read is plain.
type plainReader struct {
	text, line []byte // what is still to be read, and the line at hand, without indentation; nil at the end
	indent     int
	out        []byte
}

// deepest is how deep fields and lists may stand in one another.
const deepest = 50

// next takes the next line that is neither empty nor a comment.
func (p *plainReader) next() {
	for len(p.text) > 0 {
		end := lineEnd(p.text, 0)
		whole := bytes.TrimRight(p.text[:end], " \n")
		p.text = p.text[end:]
		p.line = bytes.TrimLeft(whole, " ")
		p.indent = len(whole) - len(p.line)
		if len(p.line) > 0 && p.line[0] != '#' {
			return
		}
	}
	p.line, p.indent = nil, 0
}

// item tells whether the line is an item of a list.
func (p *plainReader) item() bool {
	return len(p.line) > 0 && p.line[0] == '-' && (len(p.line) == 1 || p.line[1] == ' ')
}

// fields reads the fields that begin at this indentation.
func (p *plainReader) fields(indent, depth int) bool {
	var keys []string
	p.out = append(p.out, '{')
	for p.line != nil && p.indent == indent && !p.item() {
		key, rest := plainKey(p.line)
		if key == "" || slices.Contains(keys, key) || depth > deepest {
			return false
		}
		if keys != nil {
			p.out = append(p.out, ',')
		}
		keys = append(keys, key)
		p.quoted(key)
		p.out = append(p.out, ':')
		if len(rest) > 0 && rest[0] != '#' {
			if !p.inLine(rest) {
				return false
			}
			p.next()
		} else if !p.below(indent, depth+1) {
			return false
		}
	}
	p.out = append(p.out, '}')
	return keys != nil && p.indent <= indent
}

// below reads what stands under a key: fields or a list that stand further in, or a list that does not.
func (p *plainReader) below(indent, depth int) bool {
	p.next()
	switch {
	case p.line != nil && p.item() && p.indent >= indent:
		return p.list(p.indent, depth)
	case p.line != nil && p.indent > indent:
		return p.fields(p.indent, depth)
	}
	p.out = append(p.out, "null"...)
	return true
}

// list reads the items that begin at this indentation.
func (p *plainReader) list(indent, depth int) bool {
	p.out = append(p.out, '[')
	for first := true; p.line != nil && p.indent == indent && p.item(); first = false {
		if !first {
			p.out = append(p.out, ',')
		}
		rest := bytes.TrimLeft(p.line[1:], " ")
		if len(rest) == 0 || depth > deepest {
			return false
		}
		if key, _ := plainKey(rest); key != "" {
			p.indent += len(p.line) - len(rest)
			p.line = rest
			if !p.fields(p.indent, depth+1) {
				return false
			}
			continue
		}
		if !p.inLine(rest) {
			return false
		}
		p.next()
	}
	p.out = append(p.out, ']')
	return p.indent <= indent
}

// plainKey is the key that a line or flow begins with, and what comes behind its colon; "" if it does not.
func plainKey(text []byte) (key string, rest []byte) {
	n := 0
	for n < len(text) && (isLetter(text[n]) || n > 0 && (isDigit(text[n]) || strings.IndexByte("_./-", text[n]) >= 0)) {
		n++
	}
	if n == 0 || n > 200 || n == len(text) || text[n] != ':' || n+1 < len(text) && text[n+1] != ' ' || isWord(text[:n]) {
		return "", nil
	}
	return string(text[:n]), bytes.TrimLeft(text[n+1:], " ")
}

// inLine reads a value that ends with its line, up to a comment.
func (p *plainReader) inLine(text []byte) bool {
	switch text[0] {
	case '{', '[', '"', '\'':
		rest, plain := p.flow(text, 0)
		return plain && (len(rest) == 0 || bytes.HasPrefix(rest, []byte(" #")))
	}
	if i := bytes.Index(text, []byte(" #")); i >= 0 {
		text = bytes.TrimRight(text[:i], " ")
	}
	if bytes.Contains(text, []byte(": ")) || bytes.HasSuffix(text, []byte(":")) {
		return false
	}
	return p.scalar(text)
}

// flow reads a value at the beginning of text, and gives the rest of it.
func (p *plainReader) flow(text []byte, depth int) (rest []byte, plain bool) {
	if len(text) == 0 || depth > deepest {
		return nil, false
	}
	switch open := text[0]; open {
	case '{', '[':
		return p.bracket(text, depth)
	case '"', '\'':
		end := bytes.IndexByte(text[1:], open)
		if end < 0 || open == '"' && bytes.IndexByte(text[1:end+1], '\\') >= 0 {
			return nil, false
		}
		rest = text[end+2:]
		if len(rest) > 0 && rest[0] == '\'' { // an escaped one
			return nil, false
		}
		p.quoted(string(text[1 : end+1]))
		return rest, true
	}
	end := 0
	for end < len(text) && (isLetter(text[end]) || isDigit(text[end]) || strings.IndexByte("_./- ", text[end]) >= 0) {
		end++
	}
	return text[end:], p.scalar(bytes.TrimRight(text[:end], " "))
}

// bracket reads fields or a list in brackets.
func (p *plainReader) bracket(text []byte, depth int) (rest []byte, plain bool) {
	closing := text[0] + 2 // '{' and '}', '[' and ']' stand two apart
	p.out = append(p.out, text[0])
	text = bytes.TrimLeft(text[1:], " ")
	var keys []string
	for empty := true; ; empty = false {
		if empty && len(text) > 0 && text[0] == closing {
			break
		}
		if closing == '}' {
			var key string
			if key, text = plainKey(text); key == "" || slices.Contains(keys, key) {
				return nil, false
			}
			keys = append(keys, key)
			p.quoted(key)
			p.out = append(p.out, ':')
		}
		if text, plain = p.flow(text, depth+1); !plain {
			return nil, false
		}
		text = bytes.TrimLeft(text, " ")
		if len(text) > 0 && text[0] == closing {
			break
		}
		if len(text) == 0 || text[0] != ',' {
			return nil, false
		}
		p.out = append(p.out, ',')
		text = bytes.TrimLeft(text[1:], " ")
	}
	p.out = append(p.out, closing)
	return text[1:], true
}

// scalar reads a value without quotes: a text that begins with a letter and is no word with a meaning, a whole
// number, true, false or null, or what quantities and UIDs look like.
func (p *plainReader) scalar(text []byte) bool {
	switch {
	case len(text) == 0:
		return false
	case string(text) == "true" || string(text) == "false" || string(text) == "null":
		p.out = append(p.out, text...)
	case isLetter(text[0]) && !isWord(text) || text[0] == '/' || isQuantity(text) || isUID(text):
		p.quoted(string(text))
	case isNumber(text):
		p.out = append(p.out, text...)
	default:
		return false
	}
	return true
}

// quoted writes a text.
func (p *plainReader) quoted(text string) {
	p.out = append(p.out, '"')
	for strings.ContainsAny(text, `"\`) {
		i := strings.IndexAny(text, `"\`)
		p.out = append(append(p.out, text[:i]...), '\\', text[i])
		text = text[i+1:]
	}
	p.out = append(append(p.out, text...), '"')
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isWord tells whether YAML may give the word another meaning than its letters.
func isWord(text []byte) bool {
	if len(text) > len("false") {
		return false
	}
	switch strings.ToLower(string(text)) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return true
	}
	return false
}

func digits(text []byte) int {
	n := 0
	for n < len(text) && isDigit(text[n]) {
		n++
	}
	return n
}

// isNumber tells whether this is a whole number that is the same in JSON.
func isNumber(text []byte) bool {
	return len(text) <= 18 && digits(text) == len(text) && (text[0] != '0' || len(text) == 1)
}

func isQuantity(text []byte) bool {
	n := digits(text)
	if n == 0 {
		return false
	}
	switch string(text[n:]) {
	case "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti":
		return true
	}
	return false
}

func isUID(text []byte) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range text {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !isLetter(c) && !isDigit(c) {
			return false
		}
	}
	return true
}
