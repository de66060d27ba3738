// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"
)

// printer writes answers for people and for programs. Everything that comes from an object is made harmless: a name
// with escape sequences, line breaks or bidirectional controls could otherwise forge lines of an answer.
type printer struct {
	out io.Writer
	err error // the first of a write
	// yaml makes encode write YAML.
	yaml bool
}

// printf writes text for people. The format is the command's own; the arguments may come from objects.
func (p *printer) printf(format string, args ...any) {
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			args[i] = harmless(arg)
		case error, fmt.Stringer:
			args[i] = harmless(fmt.Sprint(arg))
		}
	}
	p.print(fmt.Sprintf(format, args...))
}

// print writes text that has only harmless parts.
func (p *printer) print(text string) {
	if _, err := io.WriteString(p.out, text); p.err == nil {
		p.err = err
	}
}

// flush shows what was written so far.
func (p *printer) flush() {
	buffer, ok := p.out.(*bufio.Writer)
	if !ok {
		return
	}
	err := buffer.Flush()
	if p.err == nil {
		p.err = err
	}
}

// encode writes a value as one line of JSON, or as a document of YAML.
func (p *printer) encode(value any) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		if p.err == nil {
			p.err = err
		}
		return
	}
	if p.yaml {
		p.encodeYAML(line.Bytes())
		return
	}
	p.print(escape(line.String(), func(r rune) bool { return r == '\n' || unicode.IsPrint(r) }, jsonEscape))
}

// encodeYAML writes JSON as a document of YAML.
func (p *printer) encodeYAML(text []byte) {
	document, err := yaml.JSONToYAML(text)
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return
	}
	p.print("---\n" + escape(string(document), func(r rune) bool { return r == '\n' || unicode.IsPrint(r) }, jsonEscape))
}

// harmless is a text with everything escaped that does not print as itself: control characters, formatting and
// bidirectional controls, line breaks, and bytes that are no UTF-8.
func harmless(text string) string {
	return escape(text, unicode.IsPrint, func(r rune) string {
		quoted := strconv.QuoteRuneToASCII(r)
		return quoted[1 : len(quoted)-1]
	})
}

// jsonEscape is a character of a JSON string as that string can have it instead.
func jsonEscape(r rune) string {
	if r < 0x10000 {
		return fmt.Sprintf("\\u%04x", r)
	}
	const surrogates = 0x10000
	return fmt.Sprintf("\\u%04x\\u%04x", 0xd800+(r-surrogates)>>10, 0xdc00+(r-surrogates)&0x3ff)
}

func escape(text string, keep func(rune) bool, as func(rune) string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !keep(r) }) < 0 && strings.ToValidUTF8(text, "") == text {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == unicode.ReplacementChar && text[i] != "\uFFFD"[0]:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case keep(r):
			b.WriteRune(r)
		default:
			b.WriteString(as(r))
		}
	}
	return b.String()
}
