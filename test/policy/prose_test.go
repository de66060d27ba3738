// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// maxWords is how many words a sentence of a comment may have.
const maxWords = 35

// word is what no comment says, and what to say instead.
type word struct {
	pattern *regexp.Regexp
	instead string
}

var words = []word{
	{regexp.MustCompile(`(?i)\btells? (whether|that)\b`), `"reports whether", or "is set when"`},
	{regexp.MustCompile(`(?i)\b(hitherto|whereof|thereof|wherein|lest|likewise|save for)\b`), "plain English of today"},
	{regexp.MustCompile(`(?i)\b(truce|court of|fares?|by what manner)\b`), "the field's word: backoff, validator, result"},
	{regexp.MustCompile(`(?i)\b(is|are) told (of|that|what|apart|as|by|in)\b`), `"is reported", "is logged" or "gets an event"`},
	{regexp.MustCompile(`(?i)\bof whom\b|\bto whom\b|\bwhom\b`), "name the object"},
}

func TestComments(t *testing.T) { obey(t, prose(tree(t))) }

// prose checks the comments of Go files: the length of their sentences, and their words.
func prose(files []*file) []string {
	var violations []string
	for _, f := range goFiles(files) {
		for _, group := range f.syntax.Comments {
			for _, sentence := range sentences(group) {
				if n := len(strings.Fields(sentence)); n > maxWords {
					violations = append(violations, fmt.Sprintf("%s: a sentence of %d words, at most %d: %.60s…", f.at(group.Pos()), n, maxWords, sentence))
				}
				for _, w := range words {
					if found := w.pattern.FindString(sentence); found != "" {
						violations = append(violations, fmt.Sprintf("%s: %q: say %s", f.at(group.Pos()), found, w.instead))
					}
				}
			}
		}
	}
	return violations
}

var (
	sentenceEnd = regexp.MustCompile(`[.?!][)"]*(\s+|$)`)
	listItem    = regexp.MustCompile(`^\s*([-*•]|\d+[.)])\s+`)
)

// sentences splits a comment. A list item and a paragraph begin a new sentence. Indented text without a
// bullet is code or a drawing, unless it continues an item.
func sentences(group *ast.CommentGroup) []string {
	var all []string
	var paragraph strings.Builder
	inItem := false
	end := func() {
		for _, sentence := range sentenceEnd.Split(paragraph.String(), -1) {
			if sentence = strings.TrimSpace(sentence); sentence != "" {
				all = append(all, sentence)
			}
		}
		paragraph.Reset()
	}
	for line := range strings.Lines(group.Text()) {
		item := listItem.MatchString(line)
		indented := strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "  ")
		blank := strings.TrimSpace(line) == ""
		if item || blank || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "+") {
			end()
		}
		inItem = item || inItem && indented
		if !blank && (!indented || inItem) {
			paragraph.WriteString(listItem.ReplaceAllString(line, ""))
			paragraph.WriteString(" ")
		}
	}
	end()
	return all
}
