// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"errors"
	"hash/maphash"
	"strings"
	"testing"
)

// TestParsed reads contents in a row, and counts how many are parsed.
func TestParsed(t *testing.T) {
	for name, c := range map[string]struct {
		contents []string
		calls    int
		last     string // "" for an error
	}{
		"the same content is parsed once":      {[]string{"a", "a", "a"}, 1, "A"},
		"other content is parsed":              {[]string{"a", "b", "b"}, 2, "B"},
		"content that comes back is parsed":    {[]string{"a", "b", "a"}, 3, "A"},
		"empty content is content":             {[]string{"", "a"}, 2, "A"},
		"bad content is parsed each time":      {[]string{"bad", "bad"}, 2, ""},
		"good content after bad is parsed":     {[]string{"a", "bad", "a"}, 3, "A"},
		"content after the same and bad again": {[]string{"a", "a", "bad"}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			p := parsed[string]{seed: maphash.MakeSeed(), parser: func(data []byte) (string, error) {
				calls++
				if string(data) == "bad" {
					return "", errors.New("bad")
				}
				return strings.ToUpper(string(data)), nil
			}}
			var value string
			var err error
			for _, content := range c.contents {
				value, err = p.parse([]byte(content))
			}
			if calls != c.calls || value != c.last || (err != nil) != (c.last == "") {
				t.Errorf("%d calls, %q, %v; want %d calls, %q", calls, value, err, c.calls, c.last)
			}
		})
	}
}
