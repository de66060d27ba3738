// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// module is one of a program, and made is when that version was made, in RFC 3339.
type module struct{ path, version, made string }

func newModule(fields []string) (module, error) {
	if len(fields) != 3 {
		return module{}, fmt.Errorf("%q is not a module, its version and the time of the version", strings.Join(fields, " "))
	}
	if _, err := time.Parse(time.RFC3339, fields[2]); err != nil {
		return module{}, fmt.Errorf("the time of %s: %w", fields[0], err)
	}
	return module{fields[0], fields[1], fields[2]}, nil
}

func (m module) String() string { return m.path + "\t" + m.version + "\t" + m.made }

// vulnerability is known in a module that a program has. Whether the vulnerable package is linked is not known: a shipped
// program has no symbol table, and without one govulncheck gives packages to wrong modules.
type vulnerability struct {
	id, module, version string
	// fixed is the first version without it; "none" where there is none.
	fixed string
}

// prefix begins each ID of Go's list of vulnerabilities.
const prefix = "GO-"

func (v vulnerability) String() string {
	return strings.Join([]string{v.id, v.module, v.version, v.fixed}, "\t")
}

// findings reads what govulncheck -format json prints, for one program or several one after the other. Findings that
// name a package are left out; see vulnerability.
func findings(in io.Reader) ([]vulnerability, error) {
	found := map[vulnerability]bool{}
	scans := 0
	for decoder := json.NewDecoder(in); ; {
		var message struct {
			Config  *struct{}
			Finding *struct {
				OSV          string `json:"osv"`
				FixedVersion string `json:"fixed_version"`
				Trace        []struct{ Module, Version, Package string }
			}
		}
		err := decoder.Decode(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading what govulncheck prints: %w", err)
		}
		if message.Config != nil {
			scans++
		}
		if f := message.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Package == "" {
			v := vulnerability{f.OSV, f.Trace[0].Module, f.Trace[0].Version, f.FixedVersion}
			if v.fixed == "" {
				v.fixed = "none"
			}
			found[v] = true
		}
	}
	if scans == 0 {
		return nil, fmt.Errorf("govulncheck printed no scan; give the output of govulncheck -format json")
	}
	known := slices.Collect(maps.Keys(found))
	slices.SortFunc(known, func(a, b vulnerability) int { return strings.Compare(a.String(), b.String()) })
	return known, nil
}

// list is what modules.tsv has.
type list struct {
	// read is the day of the known vulnerabilities that the modules were read against, as 2006-01-02.
	read string
	// database is the version of golang.org/x/vulndb that has them.
	database string
	modules  []module
	known    []vulnerability
}

// age is how old the reading is.
func (l list) age(now time.Time) (time.Duration, error) {
	read, err := time.Parse(time.DateOnly, l.read)
	if err != nil {
		return 0, fmt.Errorf("the day of the reading: %w", err)
	}
	if l.database == "" {
		return 0, fmt.Errorf("no version of golang.org/x/vulndb is given")
	}
	return now.Sub(read), nil
}

const (
	about = "# Written by hack/update-modules.sh. Vulnerabilities of modules in the shipped programs: ID, module, version, first version without it.\n" +
		"# Then the modules in the shipped programs: module, version, time of the version.\n"
	// readLine begins the line that says when the modules were read.
	readLine = "# read\t"
)

func (l list) text() []byte {
	text := fmt.Appendf([]byte(about), "%s%s\tgolang.org/x/vulndb@%s\n", readLine, l.read, l.database)
	for _, v := range l.known {
		text = fmt.Appendf(text, "%s\n", v)
	}
	for _, m := range l.modules {
		text = fmt.Appendf(text, "%s\n", m)
	}
	return text
}

func parse(text string) (list, error) {
	var l list
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if heading, ok := strings.CutPrefix(line, readLine); ok {
			read, database, _ := strings.Cut(heading, "\tgolang.org/x/vulndb@")
			l.read, l.database = read, database
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if strings.HasPrefix(line, prefix) && len(fields) == 4 {
			l.known = append(l.known, vulnerability{fields[0], fields[1], fields[2], fields[3]})
			continue
		}
		m, err := newModule(fields)
		if err != nil {
			return list{}, err
		}
		l.modules = append(l.modules, m)
	}
	return l, nil
}

// differences are the lines that one of the lists lacks, by module.
func differences(kept, linked []module) []string {
	var lines []string
	for _, m := range linked {
		if !slices.Contains(kept, m) {
			lines = append(lines, fmt.Sprintf("%s %s of %s is linked, and not in the list", m.path, m.version, m.made))
		}
	}
	for _, m := range kept {
		if !slices.Contains(linked, m) {
			lines = append(lines, fmt.Sprintf("%s %s of %s is in the list, and not linked", m.path, m.version, m.made))
		}
	}
	slices.Sort(lines)
	return lines
}
