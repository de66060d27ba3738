// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestSplit(t *testing.T) {
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
			for _, d := range split("f", []byte(test.data)) {
				got = append(got, fmt.Sprintf("%d %s %q", d.line, map[bool]string{true: "json", false: "yaml"}[d.json], d.text))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %s\nwant %s", strings.Join(got, "\n    "), strings.Join(test.want, "\n    "))
			}
		})
	}
}

// Nothing is lost of a file of broken values, and it takes no longer than a hundred times reading it.
func TestManyBrokenValues(t *testing.T) {
	documents := split("f", []byte(strings.Repeat("{\n", 100_000)))
	if last := documents[len(documents)-1]; len(documents) != maxBroken+1 || len(last.text) != 2*(100_000-maxBroken) {
		t.Errorf("%d documents, the last with %d bytes", len(documents), len(last.text))
	}
}

// FuzzRead holds the promises of the package: nothing of a file is lost on the way to its sources, each has its line,
// errors begin with their place, and time and memory are bounded.
func FuzzRead(f *testing.F) {
	for _, seed := range append(seeds, "a: &a [x, y]\nb: [*a, *a]\n", strings.Repeat("[", 200), "a: {b: [1e999, 2]}\n", "- &a {b: c}\n- <<: *a\n  d: e\n") {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip("the limits below are for small files")
		}
		start := time.Now()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		end := 0
		for _, s := range split("f", data) {
			offset := cap(data) - cap(s.text) // it is a part of data
			if want := 1 + bytes.Count(data[:offset], []byte{'\n'}); s.line != want {
				t.Errorf("document %q is said to be in line %d, and is in %d", s.text, s.line, want)
			}
			checkBare(t, data[end:offset])
			end = offset + len(s.text)
		}
		checkBare(t, data[end:])
		objects := Read("f", data)
		SetGeneratedNames(objects)
		for i := range objects {
			checkObject(t, &objects[i])
		}
		runtime.ReadMemStats(&after)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%d bytes took %v", len(data), took)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<30 {
			t.Errorf("%d bytes took %d MiB", len(data), allocated>>20)
		}
	})
}

func checkObject(t *testing.T, o *Object) {
	t.Helper()
	if o.Err != nil {
		if !strings.HasPrefix(o.Err.Error(), "f:") {
			t.Errorf("an error without its place: %v", o.Err)
		}
		return
	}
	if !json.Valid(o.JSON) {
		t.Errorf("%q is not valid JSON", o.JSON)
	}
	if _, err := o.Fields(); err != nil && !strings.HasPrefix(o.Wrap(err).Error(), "f:") {
		t.Errorf("an error without its place: %v", err)
	}
	var pod corev1.Pod
	if _, err := o.Decode(&pod); err != nil {
		var field *FieldError
		if !errors.As(err, &field) {
			t.Errorf("%q: an error without its field: %v", o.JSON, err)
		}
	}
}

var seeds = []string{
	"a: 1\n---\nb: 2\n", "{\"a\":1}{\"b\":2}\n{\"c\":\n{}", "--- {a: b}\n...\n# c\n%D\n", "\xef\xbb\xbf\r\n{",
	"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}\n- 7\n",
	"apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {domain: {cpu: {cores: x}}}\n",
	"apiVersion: corepin.dev/v1alpha1\nkind: NodeCPU\nmetadata: {name: n}\nstatus: {cpuManager: {policy: static}}\n",
	"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: {cpu: x}}}]}\n",
	"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: {cpu: 1e999999999}}}]}\n",
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
