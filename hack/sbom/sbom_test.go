// SPDX-License-Identifier: Apache-2.0

package sbom

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/spdx/tools-golang/json"
)

const created = "2026-01-02T03:04:05Z"

const program = `package main

import "github.com/spdx/tools-golang/spdx/v2/common"

func main() { println(common.SHA256) }
`

// build makes a program of this module and one other.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/main.go", []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir+"/hello", dir+"/main.go").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return dir + "/hello"
}

func TestTheModulesOfAProgramAreListed(t *testing.T) {
	file := build(t)
	data, err := Of(file, "v1.2.3", created)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Of(file, "v1.2.3", created)
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the same program gives two documents, or %v", err)
	}
	document, err := json.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, p := range document.Packages {
		versions[p.PackageName] = p.PackageVersion
	}
	if versions["hello"] != "v1.2.3" {
		t.Errorf("the program is not listed with its version: %v", versions)
	}
	for _, name := range []string{"stdlib", "github.com/spdx/tools-golang"} {
		if versions[name] == "" {
			t.Errorf("%s is not listed with a version: %v", name, versions)
		}
	}
	if got, want := len(document.Relationships), len(document.Packages); got != want {
		t.Errorf("%d relationships, want one for each of %d packages", got, want)
	}
}

func TestWhatIsNoProgramIsAnError(t *testing.T) {
	file := t.TempDir() + "/text"
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Of(file, "v1", created); err == nil {
		t.Error("a text has a list of modules")
	}
	if _, err := Of(file+".none", "v1", created); err == nil {
		t.Error("a missing file has a list of modules")
	}
}
