// SPDX-License-Identifier: Apache-2.0

// Package page writes what is known of a cluster as one HTML page, for kubectl corepin report.
//
// The page is one file, and asks no server for anything. It has the nodes as JSON, and a script that draws them from it: all of
// them as a map, and one in detail when it is opened. What waits, and the room that is left, stand in the HTML itself, so that
// they can be read without the script.
//
// # Promises
//
// Equal pages are equal bytes. Nothing in a Page can become markup, a script or a request. Text gets into the HTML by
// html/template, and into the JSON escaped for a script element. The script sets text only, never markup. The page's
// Content-Security-Policy forbids everything but this package's own style and script, which it names by their hashes.
//
// The part of the address after "#" says what is shown, so that it can be linked to: #node=NAME opens a node, #q=TEXT searches, and
// #show=SHAPE colours the map by the room for a size.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
)

// State says how far a node's kubelet can be predicted.
type State int

// The states. The script and the style know them by these numbers.
const (
	// Exact is a node whose kubelet is predicted exactly.
	Exact State = iota
	// Estimated is a node where CPUs are only counted.
	Estimated
	// Silent is a node that is not heard from: all that is shown of it is of the past.
	Silent
	// Unlabelled is a node that takes no dedicated VM: it has no label cpumanager=true, or no CPU manager.
	Unlabelled
)

// Page is what one page shows. Its JSON is what the script reads.
type Page struct {
	// AsOf is the time of what is shown, as RFC 3339 writes it; "" where it is not known.
	AsOf     string    `json:"-"`
	Nodes    []Node    `json:"nodes"`
	Machines []Machine `json:"machines"`
	Waiting  []Waiting `json:"waiting"`
	Sizes    []Size    `json:"sizes"`
}

// Machine is what equal nodes have in common.
type Machine struct {
	// Text describes the machine and its kubelet, in lines.
	Text []string `json:"text"`
	// NUMANodes are the kernel's ids, those without CPUs included.
	NUMANodes []int `json:"numa"`
	// Places are the cores by where they are.
	Places []Place `json:"places"`
	// CachesKnown is set where Place.Cache can be relied on.
	CachesKnown bool `json:"caches,omitempty"`
	// CPUs is how many there are, and Reserved lists those that are kept for the system.
	CPUs     int    `json:"cpus"`
	Reserved string `json:"reserved"`
	// Settings are the machine's settings that decide about latency, as name=value.
	Settings []string `json:"settings,omitempty"`
}

// Place is the cores of one socket, NUMA node and last-level cache. Each core is the list of its CPUs: "0,64".
type Place struct {
	Socket   int      `json:"socket"`
	NUMANode int      `json:"numa"`
	Cache    int      `json:"cache"`
	Cores    []string `json:"cores"`
}

// Node is one node. Its JSON is short, since there are thousands of them.
type Node struct {
	Name  string `json:"n"`
	State State  `json:"s"`
	// Why is the cause of every State but Exact.
	Why string `json:"w,omitempty"`
	// Machine is an index in Page.Machines; -1 where nothing is known of the node's CPUs.
	Machine int `json:"m"`
	// Taken is how many of Usable CPUs, those that are not reserved, cannot be granted to another pod.
	Taken  int `json:"t"`
	Usable int `json:"u"`
	// Holders are the pods with CPUs, memory or devices of their own.
	Holders []Holder `json:"h,omitempty"`
	// NUMANodes says of each of Machine.NUMANodes what memory, huge pages and devices are free there. It is empty where nothing is
	// known of any.
	NUMANodes []string `json:"a,omitempty"`
	// Besides are the devices of no NUMA node or of several, and those that are not known.
	Besides []string `json:"b,omitempty"`
	Notes   []Note   `json:"x,omitempty"`
	// Room is how many more VMs of each of Page.Sizes fit; empty where that was not counted.
	Room []int `json:"r,omitempty"`
}

// Holder is a pod with something of its own on a node.
type Holder struct {
	Name string `json:"n"`
	// CPUs are all of its CPUs as a list: "1-4,65-68".
	CPUs string `json:"c,omitempty"`
	// Containers says which container has which CPUs, where several have some.
	Containers string `json:"k,omitempty"`
	// Pins is where the threads of its guest were found, and Waits which vCPUs waited for a CPU, both as in the report.
	Pins  string `json:"p,omitempty"`
	Waits string `json:"v,omitempty"`
	// SharedWith is who else may run on its CPUs.
	SharedWith string `json:"o,omitempty"`
	// Besides says where its memory and devices are from.
	Besides string `json:"d,omitempty"`
	// InFlight is set for a pod that is not in the node's report yet.
	InFlight bool `json:"i,omitempty"`
}

// The kinds of notes.
const (
	// Drift: threads of a VM are not on the CPUs that they were pinned to.
	Drift = "drift"
	// Sharing: others may run on the CPUs of dedicated VMs.
	Sharing = "sharing"
	// Restart: a restart of the kubelet would cost VMs.
	Restart = "restart"
	// Siblings: granted CPUs share a core with somebody else.
	Siblings = "siblings"
	// Closed: the node takes no new pods, or only some.
	Closed = "closed"
)

// Note is something about a node that a reader should know.
type Note struct {
	Kind string `json:"k"`
	Text string `json:"t"`
}

// Waiting is pods that wait for a node for the same reasons.
type Waiting struct {
	Names []string `json:"names"`
	// Since is when the first of them was created; "" where that is not known.
	Since string `json:"-"`
	// Head is what is said of the first one, in lines.
	Head []string `json:"-"`
	// Groups are the nodes with equal answers, the nearest first.
	Groups []Group `json:"groups,omitempty"`
	// More is how many nodes are in no group.
	More int `json:"-"`
	// Command says all of it.
	Command string `json:"-"`
}

// Group is nodes with the same answer.
type Group struct {
	// Text is the answer, in lines.
	Text []string `json:"-"`
	// Nodes are indices in Page.Nodes.
	Nodes []int `json:"nodes"`
}

// Size is how many more VMs of a size fit.
type Size struct {
	// Shape is what one VM asks for: "cpus=8".
	Shape string `json:"shape"`
	// Fit is how many more fit, and Nodes on how many nodes.
	Fit   int `json:"fit"`
	Nodes int `json:"-"`
	// Left says which CPUs stay free then, and Reasons why.
	Left    string `json:"-"`
	Reasons string `json:"-"`
	// Groups are the nodes with the same count for the same reason, in lines.
	Groups []string `json:"-"`
}

//go:embed template.html
var templateText string

//go:embed style.css
var style string

//go:embed script.js
var script string

var pageTemplate = template.Must(template.New("page").Parse(templateText))

// view is what the template sees.
type view struct {
	*Page
	Summary summary
	Policy  string
	Style   template.CSS
	Script  template.JS
}

// Write writes the page. The only errors are those of w.
func (p *Page) Write(w io.Writer) error {
	shown := *p
	shown.Nodes = append([]Node{}, p.Nodes...) // which is [] in JSON where there is none
	shown.Machines = append([]Machine{}, p.Machines...)
	shown.Waiting = append([]Waiting{}, p.Waiting...)
	shown.Sizes = append([]Size{}, p.Sizes...)
	return pageTemplate.Execute(w, &view{Page: &shown, Summary: p.summary(), Policy: policy(), Style: template.CSS(style), Script: template.JS(script)})
}

// policy is the page's Content-Security-Policy: nothing is loaded, and nothing runs but the script of this package.
func policy() string {
	return "default-src 'none'; style-src '" + hash(style) + "'; script-src '" + hash(script) + "'; base-uri 'none'; form-action 'none'"
}

// hash is a text's hash as a Content-Security-Policy names it.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// First is the first pod.
func (w Waiting) First() string { return w.Names[0] }

// Others are the pods after the first.
func (w Waiting) Others() []string { return w.Names[1:] }
