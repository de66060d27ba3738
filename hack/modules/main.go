// SPDX-License-Identifier: Apache-2.0

// Command modules compares the modules that are linked into the shipped programs with hack/modules/modules.tsv. The list
// has each module's version and the time of that version, as the module proxy gives it. It also has the vulnerabilities
// that govulncheck knew in these programs, and the version of golang.org/x/vulndb that it read.
//
// A module or a version that is not in the list is an error: nobody has read it. An old reading, and vulnerabilities
// that are known, are only warnings, so that no commit that passed fails later by itself.
//
//	go run ./hack/modules
//	govulncheck -format json -mode binary -scan module PROGRAM | go run ./hack/modules -update -database v0.0.0-20261105234957-e22db6528018 -read 2026-11-05
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// build is what is shipped for some platforms: corepin in images for Linux, the kubectl plugin for all.
type build struct {
	system, architecture string
	packages             []string
}

var builds = []build{
	{"linux", "amd64", []string{"./scheduler", "./agent", "./pkg/kubectl-corepin"}},
	{"linux", "arm64", []string{"./scheduler", "./agent", "./pkg/kubectl-corepin"}},
	{"darwin", "amd64", []string{"./pkg/kubectl-corepin"}},
	{"darwin", "arm64", []string{"./pkg/kubectl-corepin"}},
	{"windows", "amd64", []string{"./pkg/kubectl-corepin"}},
}

const (
	listFile  = "hack/modules/modules.tsv"
	updateHow = "run hack/update-modules.sh, which reads all of them again, and commit " + listFile
	// maxAge is after how long a reading is old.
	maxAge = 60 * 24 * time.Hour
)

func main() {
	update := flag.Bool("update", false, "write the list instead of comparing with it")
	database := flag.String("database", "", "with -update, the version of golang.org/x/vulndb that was read")
	read := flag.String("read", "", "with -update, the day of that version, as 2006-01-02")
	flag.Parse()
	if err := run(os.Stdout, *update, list{read: *read, database: *database}, time.Now()); err != nil {
		fmt.Fprintln(os.Stderr, "modules:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, update bool, fresh list, now time.Time) error {
	var err error
	fresh.modules, err = linked()
	if err != nil {
		return err
	}
	if update {
		if _, err := fresh.age(now); err != nil {
			return err
		}
		fresh.known, err = findings(os.Stdin)
		if err != nil {
			return err
		}
		return os.WriteFile(listFile, fresh.text(), 0o644)
	}
	data, err := os.ReadFile(listFile)
	if err != nil {
		return fmt.Errorf("%w; start this in the root of the repository", err)
	}
	kept, err := parse(string(data))
	if err != nil {
		return fmt.Errorf("reading %s: %w", listFile, err)
	}
	if changes := differences(kept.modules, fresh.modules); len(changes) > 0 {
		return fmt.Errorf("%d differences from %s; %s:\n%s", len(changes), listFile, updateHow, strings.Join(changes, "\n"))
	}
	age, err := kept.age(now)
	if err != nil {
		return fmt.Errorf("reading %s: %w", listFile, err)
	}
	fmt.Fprintf(out, "%d modules, all of them read against the vulnerabilities known on %s\n", len(kept.modules), kept.read)
	if len(kept.known) > 0 {
		fmt.Fprintf(out, "warning: %d lines of %s are vulnerabilities of these modules; each has the first version without it, or none\n", len(kept.known), listFile)
	}
	if age > maxAge {
		fmt.Fprintf(out, "warning: that is %d days ago, more than %d; %s\n", age/(24*time.Hour), maxAge/(24*time.Hour), updateHow)
	}
	return nil
}

// linked asks the go command for the modules in all builds, sorted.
func linked() ([]module, error) {
	// A module that is replaced is another one. Ours has no version.
	const format = `{{with .Module}}{{with .Replace}}{{.Path}} {{.Version}} {{.Time.Format "2006-01-02T15:04:05Z"}}` +
		`{{else}}{{if .Version}}{{.Path}} {{.Version}} {{.Time.Format "2006-01-02T15:04:05Z"}}{{end}}{{end}}{{end}}`
	found := map[module]bool{}
	for _, b := range builds {
		cmd := exec.Command("go", append([]string{"list", "-deps", "-f", format}, b.packages...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+b.system, "GOARCH="+b.architecture)
		text, err := cmd.Output()
		if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		if err != nil {
			return nil, fmt.Errorf("listing what %v for %s-%s are made of: %w", b.packages, b.system, b.architecture, err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) == 0 {
				continue // of the standard library, or ours
			}
			m, err := newModule(fields)
			if err != nil {
				return nil, err
			}
			found[m] = true
		}
	}
	var modules []module
	for m := range found {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.String(), b.String()) })
	return modules, nil
}
