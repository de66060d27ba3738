// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	corev1 "k8s.io/api/core/v1"
)

// browsers are the names under which Chromium is installed.
var browsers = []string{"chromium", "chromium-browser", "google-chrome"}

// browser is the program; the test is skipped without it.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range browsers {
		path, err := exec.LookPath(name)
		if err == nil {
			return path
		}
	}
	const missing = "chromium is missing (Debian: apt-get install chromium)"
	if os.Getenv("COREPIN_REQUIRE_ALL") == "1" {
		t.Fatalf("%s, and COREPIN_REQUIRE_ALL=1 does not allow to skip", missing)
	}
	t.Skip(missing)
	return ""
}

// typed writes what follows "#" in an address as an address bar does, and "'" too: Chromium 148 opens an empty page where
// the address on its command line has one.
var typed = strings.NewReplacer(" ", "%20", `"`, "%22", "<", "%3C", ">", "%3E", "'", "%27")

// opened is the document of a file after its script has run, with this after "#" in the address.
func opened(t *testing.T, program, file, hash string) *html.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000",
		"--user-data-dir="+t.TempDir(), "--dump-dom", "file://"+file+"#"+typed.Replace(hash))
	var errs strings.Builder
	cmd.Stderr = &errs
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, hash, err, errs.String())
	}
	root, err := html.Parse(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// saved is a file with the page of a cluster.
func saved(t *testing.T, cluster Cluster) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.html")
	text := strings.TrimSuffix(ask(t, hostOf(cluster), nil, "report"), "exit 0\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// element is the one with an id.
func element(t *testing.T, root *html.Node, id string) *html.Node {
	t.Helper()
	for n := range root.Descendants() {
		if attr(n, "id") == id {
			return n
		}
	}
	var document strings.Builder
	err := html.Render(&document, root)
	if err != nil {
		t.Fatal(err)
	}
	t.Fatalf("there is no element %q in %.2000s", id, document.String())
	return nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// textOf is the text of an element.
func textOf(n *html.Node) string {
	var text strings.Builder
	for child := range n.Descendants() {
		if child.Type == html.TextNode {
			text.WriteString(child.Data)
		}
	}
	return text.String()
}

// classed counts the elements in another one that have all of some classes.
func classed(root *html.Node, classes ...string) int {
	count := 0
	for n := range root.Descendants() {
		has := " " + attr(n, "class") + " "
		all := n.Type == html.ElementNode
		for _, class := range classes {
			all = all && strings.Contains(has, " "+class+" ")
		}
		if all {
			count++
		}
	}
	return count
}

func TestThePageInABrowser(t *testing.T) {
	program := browser(t)
	cluster := generatedCluster(t, 46)
	file := saved(t, cluster)
	waiting := "VM team-"
	for name, test := range map[string]struct {
		hash  string
		check func(t *testing.T, root *html.Node)
	}{
		"all nodes": {"", func(t *testing.T, root *html.Node) {
			nodes := element(t, root, "map")
			if n := classed(nodes, "cell"); n != 46 || classed(nodes, "cell", "other") != 0 || classed(nodes, "cell", "silent") != 2 {
				t.Errorf("%d cells", n)
			}
			if !strings.Contains(textOf(element(t, root, "waiting")), waiting) {
				t.Error("nothing waits")
			}
		}},
		"a node": {"node=n17", func(t *testing.T, root *html.Node) {
			detail := element(t, root, "detail")
			text := textOf(detail)
			for _, want := range []string{"Node n17", "Socket 0", "NUMA node 0", "intel.com/vf free", "hugepages-1Gi free", "others: 2 containers of the shared pool", "What waits, and what it finds here"} {
				if !strings.Contains(text, want) {
					t.Errorf("want %q in %s", want, text)
				}
			}
			if n := classed(detail, "cpu"); n != 128 || classed(detail, "cpu", "reserved") != 2 || classed(detail, "core") != 64 {
				t.Errorf("%d CPUs are drawn", n)
			}
		}},
		"caches": {"node=n2", func(t *testing.T, root *html.Node) {
			if n := classed(element(t, root, "detail"), "cache"); n != 8 {
				t.Errorf("%d caches are drawn, want 8", n)
			}
		}},
		"a VM in flight": {"q=has:flight&node=n19", func(t *testing.T, root *html.Node) {
			if n := classed(element(t, root, "detail"), "cpu", "flight"); n != 2 || classed(element(t, root, "map"), "cell", "other") != 44 {
				t.Errorf("%d CPUs are drawn in flight", n)
			}
		}},
		"no such node": {"node=nowhere", func(t *testing.T, root *html.Node) {
			if text := textOf(element(t, root, "detail")); !strings.Contains(text, "There is no node nowhere on this page.") {
				t.Errorf("got %q", text)
			}
		}},
		"a search": {"q=flying-19", func(t *testing.T, root *html.Node) {
			hits := textOf(element(t, root, "hits"))
			if !strings.Contains(hits, "flying-19 (in flight) on n19, CPUs ") || classed(element(t, root, "map"), "cell", "other") != 45 {
				t.Errorf("hits %q", hits)
			}
		}},
		"one that waits": {"q=waiting-5", func(t *testing.T, root *html.Node) {
			if text := textOf(element(t, root, "found")) + textOf(element(t, root, "hits")); !strings.Contains(text, "0 of 46 nodes, 0 pods there, 1 waiting") || !strings.Contains(text, "waiting-5 waits") {
				t.Errorf("found %q", text)
			}
		}},
		"a namespace": {"q=team-7/", func(t *testing.T, root *html.Node) {
			if text := textOf(element(t, root, "found")); strings.Contains(text, ": 0 of") || !strings.Contains(text, "of 46 nodes") {
				t.Errorf("found %q", text)
			}
		}},
		"the room for a size": {"show=cpus%3D8", func(t *testing.T, root *html.Node) {
			if nodes := element(t, root, "map"); classed(root, "room") != 2 || !strings.Contains(textOf(nodes), "more fit") {
				t.Errorf("%d elements are coloured by room: %q", classed(root, "room"), textOf(nodes))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) { test.check(t, opened(t, program, file, test.hash)) })
	}
}

// A browser takes no name for markup, and asks nobody for anything.
func TestThePageIsInertInABrowser(t *testing.T) {
	program := browser(t)
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer server.Close()
	names := []string{
		`<img src=` + server.URL + `/a onerror="document.title='hacked'">`, `</script><script src=` + server.URL + `/b></script>`,
		`"><link rel=stylesheet href=` + server.URL + `/c>`, `</style><style>@import '` + server.URL + `/d'</style>`, `<iframe src=` + server.URL + `/e>`,
	}
	cluster := generatedCluster(t, len(names))
	for i, name := range names {
		for k := range cluster.Pods {
			if cluster.Pods[k].Spec.NodeName == cluster.Reports[i].Name {
				cluster.Pods[k].Spec.NodeName = name
			}
		}
		cluster.Reports[i].Name = name
		cluster.Nodes[i].Name = name
	}
	for k := range cluster.Pods {
		cluster.Pods[k].Namespace = names[k%len(names)]
		cluster.Pods[k].Annotations["kubevirt.io/domain"] = names[k%len(names)]
	}
	cluster.Nodes[0].Spec.Taints = []corev1.Taint{{Key: names[0], Value: names[1], Effect: corev1.TaintEffectNoSchedule}}
	file := saved(t, cluster)
	for _, hash := range []string{"", "q=img", "node=" + strings.ReplaceAll(names[0], "&", "%26"), "q=<img+src%3D" + server.URL + "/q>", "node=<img+src%3D" + server.URL + "/n+onerror%3Dalert(1)>"} {
		root := opened(t, program, file, hash)
		for n := range root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			if n.Data == "title" && textOf(n) != "corepin: dedicated CPUs of 5 nodes" {
				t.Errorf("%s: the title is %q", hash, textOf(n))
			}
			if attr(n, "src") != "" || attr(n, "onerror") != "" || n.Data == "link" || n.Data == "iframe" || n.Data == "img" {
				t.Errorf("%s: there is an element <%s> %v", hash, n.Data, n.Attr)
			}
		}
		if cells := classed(element(t, root, "map"), "cell"); cells != len(names) {
			t.Errorf("%s: %d cells; does the script run?", hash, cells)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}
