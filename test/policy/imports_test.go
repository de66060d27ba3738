// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// ban forbids an import to files below a folder.
type ban struct {
	below  string   // folder; "" is the whole tree
	except []string // folders and files that may
	tests  bool     // holds for test files too
	path   string   // import path, and everything below it
	why    string
}

const ours = module + "/"

var bans = []ban{
	{below: "pkg", tests: true, path: ours + "scheduler", why: "pkg is what scheduler and agent share; it knows neither"},
	{below: "pkg", tests: true, path: ours + "agent", why: "pkg is what scheduler and agent share; it knows neither"},
	{below: "scheduler", tests: true, path: ours + "agent", why: "the two binaries meet in pkg and in NodeCPU objects only"},
	{below: "agent", tests: true, path: ours + "scheduler", why: "the two binaries meet in pkg and in NodeCPU objects only"},
	{below: "", except: []string{"scheduler/app", "test", "hack"}, path: "k8s.io/kubernetes", why: "it is not made to be imported; only scheduler/app and tests may depend on its inside"},
	{below: "", except: []string{"test", "hack"}, path: ours + "test", why: "test code stays out of the product"},
	{below: "", except: []string{"hack/images", "hack/release"}, path: ours + "hack", why: "tools stay out of the product"},
	{below: "", except: []string{"test", "hack/chart", "hack/release"}, path: ours + "manifests", why: "the product does not install itself"},
	{below: "manifests", tests: true, path: ours, why: "the manifests say what to install; they depend on nothing they install"},
	{below: "scheduler", except: []string{"scheduler/dedicatedcpu"}, tests: true, path: ours + "scheduler/audit", why: "decisions do not depend on what became of earlier predictions"},
	{below: "pkg/verdict", path: "time", why: "a verdict is a pure function of a node and a demand"},
	{below: "", except: []string{"agent/libvirt", "test"}, path: "github.com/digitalocean/go-libvirt", why: "libvirt is reached through agent/libvirt"},
	{below: "pkg", except: []string{"pkg/kubectl-corepin"}, path: "os", why: "pkg does no I/O: pass the bytes in"},
	{below: "pkg", path: "net", why: "pkg does no I/O: pass the bytes in"},
	{below: "pkg", except: []string{"pkg/kubectl-corepin"}, path: "k8s.io/client-go", why: "pkg does no I/O: pass the objects in"},
	{below: "pkg", path: "k8s.io/klog", why: "pkg does not log: return errors, and let the caller decide"},
	{below: "pkg", path: "log", why: "pkg does not log: return errors, and let the caller decide"},
	{below: "", tests: true, path: "github.com/stretchr/testify", why: "one assertion style: package testing"},
	{below: "", except: []string{"test"}, tests: true, path: "github.com/onsi", why: "ginkgo is for the suites below test/; beside the code stand plain tables"},
	{below: "", tests: true, path: "k8s.io/utils/pointer", why: "use k8s.io/utils/ptr, or new(value)"},
}

func TestImportsGoOneWay(t *testing.T) { obey(t, imports(tree(t))) }

func imports(files []*file) []string {
	violations := forbiddenImports(files)
	for _, b := range bans {
		for _, e := range b.except {
			if !b.needs(files, e) {
				violations = append(violations, fmt.Sprintf("%s may import %s, but does not: take it off the list of exceptions", e, b.path))
			}
		}
	}
	return violations
}

// needs reports whether a file at or below the exception imports what is forbidden elsewhere.
func (b ban) needs(files []*file, exception string) bool {
	open := b
	open.except = nil
	for _, f := range goFiles(files) {
		if f.path != exception && !f.under(exception) {
			continue
		}
		for _, spec := range f.syntax.Imports {
			if path, _ := strconv.Unquote(spec.Path.Value); open.forbids(f, path) {
				return true
			}
		}
	}
	return false
}

func forbiddenImports(files []*file) []string {
	var violations []string
	for _, f := range goFiles(files) {
		for _, spec := range f.syntax.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			for _, b := range bans {
				if b.forbids(f, path) {
					violations = append(violations, fmt.Sprintf("%s: imports %s: %s", f.at(spec.Pos()), path, b.why))
				}
			}
		}
	}
	return violations
}

func (b ban) forbids(f *file, path string) bool {
	if b.below != "" && !f.under(b.below) || f.test() && !b.tests {
		return false
	}
	for _, e := range b.except {
		if f.path == e || f.under(e) {
			return false
		}
	}
	within := strings.TrimSuffix(b.path, "/")
	return path == within || strings.HasPrefix(path, within+"/")
}
