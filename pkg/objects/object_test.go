// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// summary gives of each object its place, kind, namespace and name, or its error.
func summary(objects []Object) string {
	var lines []string
	for i := range objects {
		o := &objects[i]
		if o.Err != nil {
			lines = append(lines, o.Err.Error())
			continue
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s: %s %s %s/%s", o.Where(), o.APIVersion, o.Kind, o.Namespace, o.Name)))
	}
	return strings.Join(lines, "\n")
}

func TestRead(t *testing.T) {
	const a, b = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}`, `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "namespace": "x"}}`
	for name, test := range map[string]struct{ data, want string }{
		"a YAML list in blocks": {"apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n- kind: Pod\n  metadata: {name: b}\nkind: List\n",
			"f:3: item 1: v1 Pod /a\nf:7: item 2:  Pod /b"},
		"a list of one kind":      {"apiVersion: v1\nkind: PodList\nitems:\n  # first\n  - metadata: {name: a}\n\n  - metadata: {name: b}\n", "f:5: item 1: v1 Pod /a\nf:7: item 2: v1 Pod /b"},
		"a list that is empty":    {"kind: List\nitems: []\n---\n" + a, "f:4: v1 Pod /a"},
		"items of another kind":   {"kind: Thing\nitems:\n- a\n- b\n", "f:1:  Thing /"},
		"a JSON list":             {"{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n" + a + ",\n" + b + "]}", "f:2: item 1: v1 Pod /a\nf:3: item 2: v1 Pod x/b"},
		"a bare list":             {"[" + a + ",\n\n" + b + ", 3]", "f:1: item 1: v1 Pod /a\nf:3: item 2: v1 Pod x/b\nf:3: item 3: want an object with apiVersion, kind and metadata, there is something else"},
		"a bare YAML list":        {"- " + a + "\n- " + b, "f:1: item 1: v1 Pod /a\nf:2: item 2: v1 Pod x/b"},
		"a list without items":    {"kind: List\n", "f:1: reading List: want a list in items"},
		"a list with fields":      {"kind: List\nitems: {a: b}\n", "f:2: reading List: want a list in items"},
		"a list with a bad item":  {"kind: List\nitems:\n- a: [\n- b: c\n", "f:3: reading YAML or JSON: did not find expected node content"},
		"aliases across items":    {"kind: List\nitems:\n- &p {kind: Pod, metadata: {name: a}}\n- *p\n", "f:3: item 1:  Pod /a\nf:4: item 2:  Pod /a"},
		"a string over two items": {"kind: List\nitems:\n- kind: \"Pod\n- x\"\n", "f:3: item 1:  Pod - x /"},
		"keys that are escaped":   {`{"\u006bind": "Pod"}`, "f:1:  Pod /"},
		"a kind that is a number": {"kind: 3\n", "f:1: kind is a number; want a string, in quotes"},
		"metadata of text":        {"kind: Pod\nmetadata: a\n", "f:2: metadata is a string; want fields (name: value)"},
		"a name that is a number": {"kind: Pod\nmetadata:\n  name: 3\n", "f:3: metadata.name is a number; want a string, in quotes"},
		"generated names":         {"metadata: {generateName: a-}\n---\nmetadata: {name: a-1}\n---\nmetadata: {generateName: a-}\n", "f:1:   /a-2\nf:3:   /a-1\nf:5:   /a-3"},
		"keys given twice":        {"kind: Pod\nkind: Pod\n", "f:2: reading YAML or JSON: key \"kind\" already set in map"},
		"keys beside a merge":     {"a: &a {kind: Pod}\n<<: *a\nkind: Node\n", "f:1:  Node /"},
		"no value":                {"~\n", "f:1: want an object with apiVersion, kind and metadata, there is something else"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := Read("f", []byte(test.data))
			SetGeneratedNames(objects)
			if got := summary(objects); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// What would take the machine's memory is refused, with the place.
func TestLimits(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	text := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct{ data, want string }{
		"an alias bomb":             {bomb, "f:1: reading YAML or JSON: its aliases (*) expand to more than 64 MiB"},
		"aliases of a large text":   {"a: &a " + text + "\nb: [" + strings.Repeat("*a, ", 1000) + "*a]\n", "f:1: reading YAML or JSON: its aliases (*) expand to more than 64 MiB"},
		"an alias of itself":        {"a: &a [*a]\n", "f:1: reading YAML or JSON: anchor 'a' value contains itself"},
		"deep lists":                {"a: " + strings.Repeat("[", 200_000), "f:1: reading YAML or JSON: exceeded max depth of 10000"},
		"deep JSON":                 {strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000), "f:1: reading YAML or JSON: exceeded max depth of 10000"},
		"a large YAML object":       {"a: " + strings.Repeat("b c ", 5<<20), "f:1: reading YAML or JSON: 20 MiB are one YAML object or list, at most 16 MiB can be read"},
		"a large list of small":     {"kind: List\nitems:\n" + strings.Repeat("- {kind: Pod, metadata: {name: "+text+"}}\n", 17), ""},
		"the same in flow style":    {"kind: List\nitems: [" + strings.Repeat("{kind: Pod, metadata: {name: "+text+"}},\n", 17) + "]\n", "f:1: reading YAML or JSON: 17 MiB are one"},
		"an alias that is small":    {"a: &a [x]\nb: [*a, *a]\n", ""},
		"many aliases of one small": {"a: &a x\nb: [" + strings.Repeat("*a, ", 10_000) + "*a]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range Read("f", []byte(test.data)) {
				got := ""
				if o.Err != nil {
					got = o.Err.Error()
				}
				if !strings.Contains(got, test.want) || test.want == "" && got != "" {
					t.Fatalf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}

// A list that is read item by item gives what the parser makes of the whole.
func TestItemsAreTheWholes(t *testing.T) {
	pieces := []string{"- ", "- ", "- a: ", "  b: ", "x", "1", "\n", "\n", "\n", "  ", "    ", "- - ", "|\n", ">-\n", "\"", "'", "{", "}", "[", "]", ", ", ": ", "# c\n", "&x ", "*x", "<<: ", "items:\n",
		"kind: List\n", "\t", "...", "é", "- {a: b}\n", "? ", "~", "-\n", "- |\n  y\n", "  c:\n  - d\n"}
	random := rand.New(rand.NewPCG(1, 2))
	read := 0
	for range 40_000 {
		text := "kind: List\nitems:\n- "
		for range 1 + random.IntN(14) {
			text += pieces[random.IntN(len(pieces))]
		}
		for _, s := range split("f", []byte(text)) {
			items, ok := s.blockItems()
			if !ok {
				continue
			}
			read++
			var parts []string
			for _, item := range items {
				parts = append(parts, string(item.JSON))
			}
			whole, err := s.toJSON()
			if err != nil {
				t.Fatalf("%q: the parts are %s; the whole: %v", s.text, parts, err)
			}
			var elements []string
			for _, m := range members(whole) {
				if m.key == "items" {
					for _, e := range members(whole[m.start:m.end]) {
						elements = append(elements, string(whole[m.start:m.end][e.start:e.end]))
					}
				}
			}
			if strings.Join(parts, "\n") != strings.Join(elements, "\n") {
				t.Fatalf("%q: the parts are %s, the whole has %s", s.text, parts, elements)
			}
		}
	}
	if read < 1000 {
		t.Errorf("only %d lists were read item by item", read)
	}
}

func TestDecode(t *testing.T) {
	pod := func(spec string) string { return "kind: Pod\nmetadata: {name: a}\nspec:\n" + spec }
	for name, test := range map[string]struct{ data, want string }{
		"sound":                     {pod("  containers: [{name: c, resources: {limits: {cpu: 2}}}]\n"), ""},
		"a quantity that is none":   {pod("  containers:\n  - name: c\n    resources:\n      limits:\n        cpu: x\n"), "f:8: spec.containers[0].resources.limits.cpu is x; want a quantity, such as 2, 500m or 1Gi"},
		"an init container's":       {pod("  initContainers: [{resources: {requests: {memory: []}}}]\n"), "f:4: spec.initContainers[0].resources.requests.memory is []; want a quantity"},
		"a huge exponent":           {pod("  overhead: {cpu: 1e999999999}\n"), "f:4: spec.overhead.cpu is 1e999999999; want a quantity"},
		"a huge exponent in quotes": {pod("  overhead: {cpu: \" +.1E-1234 \"}\n"), "f:4: spec.overhead.cpu is  +.1E-1234 ; want a quantity"},
		"a negative one":            {pod("  overhead: {cpu: '1e-2147483647'}\n"), "f:4: spec.overhead.cpu is 1e-2147483647; want a quantity"},
		"one that overflows":        {pod("  overhead: {cpu: 1E2147483648}\n"), "f:4: spec.overhead.cpu is 1E2147483648; want a quantity"},
		"in a string it is none":    {pod("  containers: [{name: c, image: '1e9999999'}]\n"), ""},
		"fields for a list":         {pod("  containers: {name: c}\n"), "f:4: spec.containers is fields (name: value); want a list"},
		"a list for fields":         {pod("  - a\n"), "f:3: spec is a list; want fields (name: value)"},
		"a number for text":         {pod("  containers: [{name: 3}]\n"), "f:4: spec.containers[0].name is a number; want a string, in quotes"},
		"a fraction":                {pod("  terminationGracePeriodSeconds: 1.5\n"), "f:4: spec.terminationGracePeriodSeconds is 1.5; want a whole number"},
		"a text for a truth":        {pod("  hostNetwork: \"yes\"\n"), "f:4: spec.hostNetwork is a string; want true or false"},
		"a time that is none":       {"kind: Pod\nmetadata:\n  creationTimestamp: noon\n", "f:3: metadata.creationTimestamp is noon: "},
		"a map of numbers":          {"kind: Pod\nmetadata:\n  labels: {a: 3}\n", "f:3: metadata.labels.a is a number; want a string, in quotes"},
		"an unknown field":          {pod("  container: []\n"), "f:4: unknown field \"spec.container\"; is containers meant?"},
		"one of another place":      {pod("  containers: [{name: c, hostNetwork: true}]\n"), "f:4: unknown field \"spec.containers[0].hostNetwork\"; is spec.hostNetwork meant?"},
		"one far from all":          {pod("  zzz: []\n"), "f:4: unknown field \"spec.zzz\""},
		"a field given twice":       {`{"kind": "Pod", "spec": {"nodeName": "a", "nodeName": "b"}}`, "f:1: duplicate field \"spec.nodeName\""},
		"null":                      {pod("  containers: ~\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := Read("f", []byte(test.data))[0]
			unknown, err := o.Decode(&corev1.Pod{})
			if err == nil && len(unknown) > 0 {
				err = unknown[0]
			}
			got := ""
			if err != nil {
				got = o.Wrap(err).Error()
			}
			if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	schema := Schema{"spec": {"cpu": {"cores": nil, "numa": {"guestMappingPassthrough": nil}, "features": {"name": nil}}, "anything": nil}}
	for name, test := range map[string]struct{ data, want string }{
		"all known":           {"spec: {cpu: {cores: 1, numa: {guestMappingPassthrough: {a: b}}}, anything: {a: b}}\n", ""},
		"further down":        {"spec: {cpu: {guestMappingPassthrough: {}}}\n", "spec.cpu.guestMappingPassthrough is no known field; is numa.guestMappingPassthrough meant?"},
		"of other capitals":   {"spec: {CPU: {}}\n", "spec.CPU is no known field; is cpu meant?"},
		"misspelled":          {"spec: {cpu: {coers: 1}}\n", "spec.cpu.coers is no known field"},
		"a letter too many":   {"spec: {cpu: {core: 1}}\n", "spec.cpu.core is no known field; is cores meant?"},
		"in a list":           {"spec: {cpu: {features: [{name: a}, {cores: 1}]}}\n", "spec.cpu.features[1].cores is no known field; is spec.cpu.cores meant?"},
		"a scalar for fields": {"spec: 3\n", ""},
	} {
		fields, err := Read("f", []byte(test.data))[0].Fields()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, unknown := range schema.Unknown(fields) {
			got = append(got, unknown.Path+" "+unknown.Problem)
		}
		if strings.Join(got, "\n") != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
