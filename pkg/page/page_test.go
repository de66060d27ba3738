// SPDX-License-Identifier: Apache-2.0

package page

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// hostile are names that would be markup, a script, a request or the end of a string where a page takes text for that.
var hostile = []string{
	`</script><script>document.title='hacked'</script>`, `<img src=http://127.0.0.1:1/x onerror=alert(1)>`, `"><svg onload=alert(1)>`,
	`' onmouseover='alert(1)`, "a\u2028b\u2029c", `<!--<script>`, `]]>-->`, `{{.}}`, `${alert(1)}`, "`", `\u003c/script\u003e`, `javascript:alert(1)`,
	`</style><style>@import 'http://127.0.0.1:1/'`, `</title>`, "\x00", "a\tb\nc",
}

// pageOf is a page in which all texts are name.
func pageOf(name string) *Page {
	return &Page{
		AsOf: name,
		Machines: []Machine{{Text: []string{name}, NUMANodes: []int{0}, CachesKnown: true, CPUs: 4, Reserved: name, Settings: []string{name},
			Places: []Place{{Cores: []string{"0-1", name}}}}},
		Nodes: []Node{{Name: name, State: Estimated, Why: name, Taken: 1, Usable: 2, NUMANodes: []string{name}, Besides: []string{name}, Room: []int{1},
			Notes:   []Note{{Kind: Drift, Text: name}},
			Holders: []Holder{{Name: name, CPUs: name, Containers: name, Pins: name, Waits: name, SharedWith: name, Besides: name, InFlight: true}}}},
		Waiting: []Waiting{{Names: []string{name, name}, Since: name, Head: []string{name}, More: 1, Command: name, Groups: []Group{{Text: []string{name, name}, Nodes: []int{0}}}}},
		Sizes:   []Size{{Shape: name, Left: name, Reasons: name, Groups: []string{name}}},
	}
}

func written(t *testing.T, p *Page) (string, *html.Node) {
	t.Helper()
	var text strings.Builder
	if err := p.Write(&text); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), root
}

// skeleton is a document's elements with the names of their attributes.
func skeleton(root *html.Node) []string {
	var all []string
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		element := n.Data
		for _, attribute := range n.Attr {
			element += " " + attribute.Key
		}
		all = append(all, element)
	}
	return all
}

// only is the one element of a kind, and its text.
func only(t *testing.T, root *html.Node, kind, id string) string {
	t.Helper()
	var texts []string
	for n := range root.Descendants() {
		matches := n.Type == html.ElementNode && n.Data == kind
		if matches && attribute(n, "id") == id {
			text := ""
			for child := range n.ChildNodes() {
				text += child.Data
			}
			texts = append(texts, text)
		}
	}
	if len(texts) != 1 {
		t.Fatalf("%d elements %s %q, want 1", len(texts), kind, id)
	}
	return texts[0]
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// Whatever the names are, the elements are the same, and the data is what it was.
func TestNamesAreInert(t *testing.T) {
	_, plain := written(t, pageOf("plain"))
	for _, name := range hostile {
		text, root := written(t, pageOf(name))
		if got, want := skeleton(root), skeleton(plain); !slices.Equal(got, want) {
			t.Errorf("%q changes the elements to\n%q\nwant\n%q", name, got, want)
		}
		data := only(t, root, "script", "data")
		if strings.ContainsAny(data, "<>&\u2028\u2029") {
			t.Errorf("%q: there are characters in the data that end a script: %s", name, data)
		}
		var back, want Page
		if err := json.Unmarshal([]byte(data), &back); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		plainJSON, err := json.Marshal(pageOf(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(plainJSON, &want); err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("%q: the data is %+v, want %+v: %v", name, back, want, err)
		}
		for n := range root.Descendants() {
			href := attribute(n, "href")
			if href != "" && !strings.HasPrefix(href, "#") {
				t.Errorf("%q: a link leaves the page: %q", name, href)
			}
		}
		if strings.Contains(text, "ZgotmplZ") {
			t.Errorf("%q: html/template has left something out", name)
		}
	}
}

// Nothing is loaded, and nothing runs but the script that the policy names.
func TestThePolicyForbidsAllElse(t *testing.T) {
	_, root := written(t, pageOf("n"))
	want := fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'",
		hash(only(t, root, "style", "")), hash(only(t, root, "script", "")))
	policies := 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if attribute(n, "http-equiv") == "Content-Security-Policy" {
			policies++
			if got := attribute(n, "content"); got != want || n.Parent.Data != "head" {
				t.Errorf("the policy is %s, want %s", got, want)
			}
		}
		for _, a := range n.Attr {
			if a.Key == "style" || a.Key == "src" || a.Key == "srcset" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has attribute %s, which the policy forbids", n.Data, a.Key)
			}
		}
		if slices.Contains([]string{"link", "iframe", "object", "embed", "form", "base", "img"}, n.Data) {
			t.Errorf("there is an element <%s>", n.Data)
		}
	}
	if policies != 1 {
		t.Errorf("%d policies, want 1", policies)
	}
	for _, text := range []string{style, script} {
		for _, forbidden := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest", "import(", "@import", "url("} {
			if strings.Contains(text, forbidden) {
				t.Errorf("there is %s in it", forbidden)
			}
		}
	}
}

// What is to be read without the script stands in the HTML.
func TestTheTextIsThere(t *testing.T) {
	p := pageOf("n1")
	p.Waiting[0].Head = []string{"pod a asks for 4 CPUs of its own."}
	p.Waiting[0].Groups[0].Text = []string{"n1: 2 free CPUs", "  fits if VM b moves"}
	p.Sizes[0] = Size{Shape: "cpus=8", Fit: 12, Nodes: 3, Left: "no CPU stays free"}
	text, root := written(t, p)
	for _, want := range []string{
		"<h1>Dedicated CPUs of 1 node</h1>", "<b>50 %</b> of the CPUs are taken: 1 of 2", `<a href="#q=has:flight"><b>1</b> in flight</a>`,
		`<a href="#waiting"><b>2</b> wait for a node</a>`, `<li class="drift"><a href="#q=has:drift"><b>1</b> node: drifted</a></li>`,
		"<h3>n1 and 1 more</h3>", "<p>pod a asks for 4 CPUs of its own.</p>", "<p>n1: 2 free CPUs</p>", `<p class="more">  fits if VM b moves</p>`,
		`<a href="#q=group:0.0">1 node on the map</a>`, "and 1 more nodes, for other reasons", "</i>1 estimated",
		`<th scope="row"><a href="#show=cpus%3d8">cpus=8</a></th><td class="number">12</td><td class="number">3</td><td>no CPU stays free</td>`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text[strings.Index(text, "<body>"):])
		}
	}
	_, empty := written(t, &Page{})
	if got := only(t, empty, "script", "data"); got != `{"nodes":[],"machines":[],"waiting":[],"sizes":[]}` {
		t.Errorf("the data of an empty page is %s", got)
	}
	again, _ := written(t, p)
	if again != text || root == nil {
		t.Error("equal pages are different bytes")
	}
}
