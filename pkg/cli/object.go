package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	k8sjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// object is one Kubernetes object, still as JSON, with what every object has.
type object struct {
	at                                place
	item                              int // its place in a list, from 1; 0 where it stands alone
	source                            *document
	apiVersion, kind, namespace, name string
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
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

// objects decodes a document: one object, or those of a list. What cannot be read is an object with a
// fault, so that one does not take others with it.
func (d document) objects() []object {
	text, err := d.toJSON()
	if err != nil {
		return []object{{at: d.at, source: &d, fault: err}}
	}
	o := object{at: d.at, source: &d, json: text}
	o.readHeader()
	if o.fault == nil && strings.HasSuffix(o.kind, "List") {
		return o.items()
	}
	return []object{o}
}

// items are the objects of a list. An API server leaves apiVersion and kind out of the items of a list of
// one kind.
func (o *object) items() []object {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := k8sjson.UnmarshalCaseSensitivePreserveInts(o.json, &list); err != nil {
		o.fault = fmt.Errorf("%s: reading %s: %w", o.where(), o.kind, err)
		return []object{*o}
	}
	objects := make([]object, 0, len(list.Items))
	for i, text := range list.Items {
		item := object{at: o.at, source: o.source, item: i + 1, json: text}
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
		o.fault = fmt.Errorf("%s: want an object with apiVersion, kind and metadata, there is something else", o.where())
		return
	}
	var h header
	if err := k8sjson.UnmarshalCaseSensitivePreserveInts(o.json, &h); err != nil {
		o.fault = fmt.Errorf("%s: reading apiVersion, kind and metadata: %w", o.where(), err)
	}
	o.apiVersion, o.kind, o.namespace, o.name = h.APIVersion, h.Kind, h.Metadata.Namespace, h.Metadata.Name
}

// decode reads the object into one of Go, and tells which of its fields that does not have.
func (o *object) decode(into any) (unknown []error, err error) {
	return k8sjson.UnmarshalStrict(o.json, into)
}

// toJSON converts the document. An error names the line of the fault, where it is known.
func (d document) toJSON() ([]byte, error) {
	if d.json {
		return d.text, nil
	}
	converted, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		at, problem := d.fault(err.Error())
		return nil, fmt.Errorf("%s: reading YAML or JSON: %s", at, problem)
	}
	return bytes.TrimSpace(converted), nil
}

// parserLine is how the YAML parser names a line of its text.
var parserLine = regexp.MustCompile(`line (\d+): `)

// fault takes the line out of a YAML parser's message and makes it one of the file.
func (d document) fault(message string) (place, string) {
	at := d.at
	if m := parserLine.FindStringSubmatch(message); m != nil {
		line, err := strconv.Atoi(m[1])
		if err == nil && line > 0 {
			at.line += line - 1
		}
		message = strings.Replace(message, m[0], "", 1)
	}
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n"} {
		message = strings.TrimPrefix(message, prefix)
	}
	return at, strings.Join(strings.Fields(message), " ")
}
