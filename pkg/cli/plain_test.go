package cli

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"sigs.k8s.io/yaml"
)

// FuzzPlainYAML: what plainYAML converts, the parser converts to the same.
func FuzzPlainYAML(f *testing.F) {
	inputs, err := filepath.Glob("testdata/input/*.yaml")
	if err != nil || len(inputs) == 0 {
		f.Fatalf("no inputs: %v", err)
	}
	for _, name := range inputs {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, d := range cut(name, text) {
			f.Add(d.text)
		}
	}
	for _, seed := range []string{minimalReport, vmYAML,
		"a: 1\nb: -1\nc: 0x1\nd: 1e3\ne: 007\nf: 12_3\ng: 1:30\nh: 2001-01-01\ni: 1.5\n", "a:\n- b: 1\n  c:\n  - d\n  -   e: 2\n      f:\n- {}\n- []\ng: h # i\n",
		"a: {b: {c: d, e: [1, 2Gi, \"f: g, h\", 'i']}, j: k l}\n", "a: b\n  c\n", "a:\n  b: 1\n c: 2\n", "a: yes\non: 1\n", "a: b: c\n", "a: 'b''c'\n", "a: 'b\"\\c'\nd: e\"\\f\n", "a: \"b\\n\"\n",
		"a: |\n  b\n", "a: &b c\nd: *b\n", "a: 1\na: 2\n", "a: {b: 1, b: 2}\n", "- a\n- b\n", "a: [1,]\n", "a: [b?c]\n", "a: [b: c]\n", "a:\n - b\n - c\nd: e\n", "a: !!str 1\n", "a: #b\nc: d#e\n",
		"a: {b}\n", "a: {b:1}\n", "a: \"b\" c\n", "a: \"b\" # c\n", "a: \"b\"# c\n", "a:\n\n  # c\n  b: ~\n", "a: 12345678-0000-0000-0000-00000000000e\n", "a: 01Gi\nb: 1m\n", "? a\n: b\n", "a: http://b:80/c\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, d := range cut("f", text) {
			asTheParser(t, d.text)
		}
	})
}

// asTheParser holds plainYAML to the parser, and tells whether it takes the text for plain.
func asTheParser(t *testing.T, text []byte) bool {
	t.Helper()
	got, plain := plainYAML(text)
	if !plain {
		return false
	}
	want, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatalf("%q became %s, the parser says: %v", text, got, err)
	}
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%q became %s: %v", text, got, err)
	}
	if err := json.Unmarshal(want, &w); err != nil || !reflect.DeepEqual(g, w) {
		t.Fatalf("%q became %s, the parser makes %s of it", text, got, want)
	}
	return true
}

// The same with texts of which every piece means something in YAML.
func TestPiecesOfYAML(t *testing.T) {
	pieces := []string{"a", "b: ", "c:\n", "d: ", "e:", "- ", "-", "\n", "\n", "\n  ", "\n    ", "  ", " ", "{", "}", "[", "]", ", ", ",", ": ", ":", " #", "#",
		"'", "\"", "\\", "1", "0", "23", "1.5", "1e3", "0x1f", "0o7", "1_0", "yes", "On", "null", "true", "Null", "~", "2Gi", "100m", "v1.36.3", "2026-11-23",
		"1f3f0a52-6a0e-4b5c-8a55-6f2b1b3a9d10", "|", ">", "&x", "*x", "!t", "?", "<<: ", "=", "@", "%", "`", "/bin", "k.io/x: ", "\t", "f g"}
	random := rand.New(rand.NewPCG(1, 1))
	plain := 0
	for range 30_000 {
		text := []byte("a: ")
		for range 1 + random.IntN(14) {
			text = append(text, pieces[random.IntN(len(pieces))]...)
		}
		for _, d := range cut("f", text) {
			if asTheParser(t, d.text) {
				plain++
			}
		}
	}
	if plain < 1000 {
		t.Errorf("only %d texts were plain", plain)
	}
}

// What people and kubectl write is plain.
func TestPlainYAML(t *testing.T) {
	for _, text := range []string{minimalReport, vmYAML, one("name: a")[:len(one("name: a"))-len("---\n")],
		"apiVersion: v1\nkind: Pod\nmetadata:\n  creationTimestamp: \"2026-11-23T21:13:00Z\"\n  labels:\n    app.kubernetes.io/name: web\n  name: web\n  uid: 1f3f0a52-6a0e-4b5c-8a55-6f2b1b3a9d10\n" +
			"spec:\n  containers:\n  - args:\n    - /bin/web\n    - serve all\n    image: registry.example:5000/web:v1\n    resources:\n      limits:\n        cpu: \"2\"\n        memory: 1Gi\nstatus: {}\n"} {
		d := cut("f", []byte(text))[0]
		if _, plain := plainYAML(d.text); !plain {
			t.Errorf("not plain:\n%s", text)
		}
	}
}
