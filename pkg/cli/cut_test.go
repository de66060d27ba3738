package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	for name, test := range map[string]struct {
		data string
		want []string // line, kind and text of each document
	}{
		"nothing":                     {"", nil},
		"comments only":               {"# a\n---\n\n# b\n---\n", nil},
		"one":                         {"a: 1\n", []string{`1 yaml "a: 1\n"`}},
		"two":                         {"a: 1\n---\nb: 2\n", []string{`1 yaml "a: 1\n"`, `3 yaml "b: 2\n"`}},
		"no last newline":             {"---\na: 1", []string{`2 yaml "a: 1"`}},
		"comments and a directive":    {"%YAML 1.2\n---\n# c\n\na: 1\n", []string{`5 yaml "a: 1\n"`}},
		"on the marker's line":        {"--- {a: 1}\n--- # c\nb: 2\n", []string{`1 yaml "{a: 1}\n"`, `3 yaml "b: 2\n"`}},
		"the end of a document":       {"a: 1\n...\n---\nb: 2\n", []string{`1 yaml "a: 1\n"`, `4 yaml "b: 2\n"`}},
		"no marker":                   {"----\n---a\n", []string{`1 yaml "----\n---a\n"`}},
		"of Windows":                  {"\xef\xbb\xbf\r\na: 1\r\n---\r\nb: 2\r\n", []string{`2 yaml "a: 1\r\n"`, `4 yaml "b: 2\r\n"`}},
		"indented":                    {"---\n  a: 1\n  b: 2\n", []string{`2 yaml "  a: 1\n  b: 2\n"`}},
		"JSON":                        {"\n {\"a\": \"}\\\"{\"}\n", []string{`2 json "{\"a\": \"}\\\"{\"}"`}},
		"JSON values":                 {"{\"a\":1}{\"b\":[{}]}\n\n{\n\"c\":3}", []string{`1 json "{\"a\":1}"`, `1 json "{\"b\":[{}]}"`, `3 json "{\n\"c\":3}"`}},
		"JSON between markers":        {"{\"a\":1}\n---\n{\"b\":2}\n", []string{`1 json "{\"a\":1}"`, `3 json "{\"b\":2}"`}},
		"YAML in its flow style":      {"{a: 1}\n", []string{`1 yaml "{a: 1}\n"`}},
		"a torn JSON value":           {"{\"a\":1}\n{\"b\":\n{\"c\":3}\n", []string{`1 json "{\"a\":1}"`, `2 yaml "{\"b\":\n"`, `3 json "{\"c\":3}"`}},
		"a bracket too many":          {"{\"a\":1}}\n{\"c\":3}\n", []string{`1 json "{\"a\":1}"`, `1 yaml "}\n"`, `2 json "{\"c\":3}"`}},
		"a text that never ends":      {"{\"a\":\"\n", []string{`1 yaml "{\"a\":\"\n"`}},
		"a JSON list":                 {"[{},\n{}]\n{}", []string{`1 json "[{},\n{}]"`, `3 json "{}"`}},
		"a YAML list in flow style":   {"[a, b]\n", []string{`1 yaml "[a, b]\n"`}},
		"something after JSON values": {"{}\nhello\n", []string{`1 json "{}"`, `2 yaml "hello\n"`}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range cut("f", []byte(test.data)) {
				got = append(got, fmt.Sprintf("%d %s %q", d.at.line, map[bool]string{true: "json", false: "yaml"}[d.json], d.text))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %s\nwant %s", strings.Join(got, "\n    "), strings.Join(test.want, "\n    "))
			}
		})
	}
}

// Nothing is lost of a file of torn values, and it takes no longer than a hundred times reading it.
func TestManyTornValues(t *testing.T) {
	documents := cut("f", []byte(strings.Repeat("{\n", 100_000)))
	if last := documents[len(documents)-1]; len(documents) != mostTorn+1 || len(last.text) != 2*(100_000-mostTorn) {
		t.Errorf("%d documents, the last with %d bytes", len(documents), len(last.text))
	}
}

// FuzzInput: whatever comes, nothing of it is lost on the way to the documents, each has its line, and
// both commands end with an answer or an error.
func FuzzInput(f *testing.F) {
	for _, seed := range []string{
		"a: 1\n---\nb: 2\n", "{\"a\":1}{\"b\":2}\n{\"c\":\n{}", "--- {a: b}\n...\n# c\n%D\n", "\xef\xbb\xbf\r\n{",
		"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}\n- 7\n",
		"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {domain: {cpu: {cores: x}}}\n",
		"apiVersion: corepin.dev/v1alpha1\nkind: NodeCPU\nmetadata: {name: n}\nstatus: {cpuManager: {policy: static}}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: {cpu: x}}}]}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: {cpu: 1e999999999}}}]}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		end := 0
		for _, d := range cut("f", data) {
			offset := cap(data) - cap(d.text) // it is a part of data
			if want := 1 + bytes.Count(data[:offset], []byte{'\n'}); d.at.line != want {
				t.Errorf("document %q is said to be in line %d, and is in %d", d.text, d.at.line, want)
			}
			checkBare(t, data[end:offset])
			end = offset + len(d.text)
			for _, o := range d.objects() {
				if o.fault != nil && !strings.HasPrefix(o.fault.Error(), "f:") {
					t.Errorf("an error without its place: %v", o.fault)
				}
			}
		}
		checkBare(t, data[end:])
		for _, args := range [][]string{{"check", "-f", "-", "-o", "json"}, {"fit", "-f", "-"}} {
			if code, out, errs := run(t, string(data), args...); code == exitFault == (errs == "") {
				t.Errorf("%s: exit code %d, error %q, answer %q", args, code, errs, out)
			}
		}
	})
}

// checkBare fails if something is left out that is worth reading.
func checkBare(t *testing.T, left []byte) {
	t.Helper()
	for line := range bytes.Lines(bytes.TrimPrefix(left, []byte("\xef\xbb\xbf"))) {
		for _, mark := range []string{"---", "..."} {
			line = bytes.TrimPrefix(line, []byte(mark))
		}
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && line[0] != '%' {
			t.Errorf("%q is in no document", line)
		}
	}
}
