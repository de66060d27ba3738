package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	k8sjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// object is one Kubernetes object, still as JSON, with what every object has.
type object struct {
	at                                place
	item                              int    // its place in a list, from 1; 0 where it stands alone
	path                              string // of the item in its document; "" where the object is the document
	source                            *document
	apiVersion, kind, namespace, name string
	generateName                      string // what an API server would make a name of
	json                              []byte
	fault                             error // why it cannot be read; begins with the place
}

// where tells where the object stands, for messages.
func (o *object) where() string {
	if o.item > 0 {
		return fmt.Sprintf("%s: item %d", o.at, o.item)
	}
	return o.at.String()
}

// header is what every object has.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace    string `json:"namespace"`
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
	} `json:"metadata"`
}

// objectsOf decodes documents. An object with a generateName only is named here, as an API server would do, but
// always the same: by the first number that makes a name of its own.
func objectsOf(documents []document) []object {
	var objects []object
	for _, d := range documents {
		objects = append(objects, d.objects()...)
	}
	type key struct{ kind, name string }
	taken, last := map[key]bool{}, map[key]int{}
	for _, o := range objects {
		taken[key{o.kind, qualified(o.namespace, o.name)}] = true
	}
	for i := range objects {
		o := &objects[i]
		stem := key{o.kind, qualified(o.namespace, o.generateName)}
		for o.name == "" && o.generateName != "" {
			last[stem]++
			if name := strconv.Itoa(last[stem]); !taken[key{stem.kind, stem.name + name}] {
				o.name = o.generateName + name
			}
		}
	}
	return objects
}

// objects decodes a document: one object, or those of a list. What cannot be read is an object with a
// fault, so that one does not take others with it.
func (d document) objects() []object {
	o := object{at: d.at, source: &d}
	if o.json, o.fault = d.toJSON(); o.fault != nil {
		return []object{o}
	}
	if o.json[0] == '[' {
		return o.items(o.json, "")
	}
	if o.readHeader(); o.fault != nil || !strings.HasSuffix(o.kind, "List") {
		return []object{o}
	}
	var list struct {
		Items json.RawMessage `json:"items"`
	}
	if err := k8sjson.UnmarshalCaseSensitivePreserveInts(o.json, &list); err != nil || list.Items == nil {
		o.fault = fmt.Errorf("%s: reading %s: want a list in items", o.where(), o.kind)
		return []object{o}
	}
	return o.items(list.Items, "items")
}

// items are the objects of a list, which stands at path. An API server leaves apiVersion and kind out of the
// items of a list of one kind.
func (o *object) items(list []byte, path string) []object {
	var texts []json.RawMessage
	if err := json.Unmarshal(list, &texts); err != nil {
		o.fault = fmt.Errorf("%s: reading %s: want a list in items: %w", o.where(), o.kind, err)
		return []object{*o}
	}
	objects := make([]object, 0, len(texts))
	for i, text := range texts {
		item := object{at: o.at, source: o.source, item: i + 1, path: fmt.Sprintf("%s[%d]", path, i), json: text}
		item.readHeader()
		if item.kind == "" && item.apiVersion == "" {
			item.apiVersion, item.kind = o.apiVersion, strings.TrimSuffix(o.kind, "List")
		}
		objects = append(objects, item)
	}
	return objects
}

func (o *object) readHeader() {
	if o.json[0] != '{' {
		o.fault = o.faulty(errors.New("want an object with apiVersion, kind and metadata, there is something else"))
		return
	}
	var h header
	if err := k8sjson.UnmarshalCaseSensitivePreserveInts(o.json, &h); err != nil {
		o.fault = o.faulty(fmt.Errorf("reading apiVersion, kind and metadata: %w", plain(err)))
	}
	o.apiVersion, o.kind, o.namespace, o.name = h.APIVersion, h.Kind, h.Metadata.Namespace, h.Metadata.Name
	o.generateName = h.Metadata.GenerateName
}

// decode reads the object into one of Go, and tells which of its fields that does not have.
func (o *object) decode(into any) (unknown []error, err error) {
	unknown, err = k8sjson.UnmarshalStrict(o.json, into)
	return unknown, plain(err)
}

// called is how messages call the object: by its kind and name.
func (o *object) called() string {
	if o.name == "" {
		return o.kind + " without a name"
	}
	return o.kind + " " + qualified(o.namespace, o.name)
}

// toJSON converts the document. An error names the line of the fault, where it is known.
func (d document) toJSON() ([]byte, error) {
	if d.json {
		return d.text, nil
	}
	if converted, plain := plainYAML(d.text); plain {
		return converted, nil
	}
	converted, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil && d.overrides() {
		converted, err = yaml.YAMLToJSON(d.text)
	}
	if err != nil {
		at, problem := d.fault(err.Error())
		return nil, fmt.Errorf("%s: reading YAML or JSON: %s", at, problem)
	}
	return bytes.TrimSpace(converted), nil
}

// overrides tells whether the document is sound but for keys that stand beside a merge (<<) and override what it
// brings: the strict parser takes them for keys given twice, and kubectl takes them.
func (d document) overrides() bool {
	var anything any
	return bytes.Contains(d.text, []byte("<<")) && goyaml.Unmarshal(d.text, &anything) == nil
}

// parserLine is how the YAML parser names a line of its text.
var parserLine = regexp.MustCompile(`line (\d+): `)

// fault takes the line out of a YAML parser's message and makes it one of the file.
func (d document) fault(message string) (place, string) {
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n"} {
		message = strings.TrimPrefix(message, prefix)
	}
	at := d.at
	first := true
	message = parserLine.ReplaceAllStringFunc(message, func(found string) string {
		line, err := strconv.Atoi(parserLine.FindStringSubmatch(found)[1])
		if err != nil || line < 1 {
			return found
		}
		line += d.at.line - 1
		if first {
			at.line, first = line, false
			return ""
		}
		return fmt.Sprintf("; line %d: ", line)
	})
	message = strings.ReplaceAll(strings.Join(strings.Fields(message), " "), " ; ", "; ")
	if d.tabbed(at.line - d.at.line) {
		message += "; there is a tab before the text, and YAML is indented with blanks only"
	}
	return at, message
}

// tabbed tells whether a line of the document, from 0, is indented with a tab.
func (d document) tabbed(line int) bool {
	lines := bytes.SplitN(d.text, []byte{'\n'}, line+2)
	if line < 0 || line >= len(lines) {
		return false
	}
	text := lines[line]
	return bytes.IndexByte(text[:len(text)-len(bytes.TrimLeft(text, " \t"))], '\t') >= 0
}
