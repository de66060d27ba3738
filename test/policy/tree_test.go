// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

const module = "corepin.dev/corepin"

// file is one text file of the tree.
type file struct {
	path   string // from the root, with slashes
	text   string
	syntax *ast.File // nil where it is not Go
	set    *token.FileSet
}

// newFile parses what is Go; what does not parse is the compiler's to complain about.
func newFile(path, text string) *file {
	f := &file{path: path, text: text, set: token.NewFileSet()}
	if strings.HasSuffix(path, ".go") {
		f.syntax, _ = parser.ParseFile(f.set, path, text, parser.ParseComments|parser.SkipObjectResolution)
	}
	return f
}

func (f *file) dir() string     { return path.Dir(f.path) }
func (f *file) test() bool      { return strings.HasSuffix(f.path, "_test.go") }
func (f *file) generated() bool { return f.syntax != nil && ast.IsGenerated(f.syntax) }
func (f *file) lines() int      { return strings.Count(f.text, "\n") }

// at is where pos is, for a message.
func (f *file) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", f.path, f.set.Position(pos).Line)
}

// under reports whether the file is in folder dir, at any depth.
func (f *file) under(dir string) bool { return strings.HasPrefix(f.path, dir+"/") }

// notOurs are folders of the checkout that are not of the repository: git's, what is built, what a demo
// that stays up keeps.
var notOurs = []string{".git", "bin", ".corepin"}

// readTree reads every text file of the repository once.
var readTree = sync.OnceValues(func() ([]*file, error) {
	var files []*file
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if slices.Contains(notOurs, path) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil // .git of a worktree is a file
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		data, err := fs.ReadFile(root, path)
		if err == nil && utf8.Valid(data) {
			files = append(files, newFile(path, string(data)))
		}
		return err
	})
	return files, err
})

func tree(t *testing.T) []*file {
	t.Helper()
	files, err := readTree()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// obey fails the test with every violation.
func obey(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}
