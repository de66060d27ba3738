// SPDX-License-Identifier: Apache-2.0

// Package metrictable compares the metrics that a program has with the table that users read,
// manifests/monitoring/metrics.md.
package metrictable

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// Metric is one row of the table.
type Metric struct {
	Name string
	Type string // counter, gauge or histogram
	// Labels are the label names. Values are the values that exist from the start, by label; none for a label whose value
	// is not known before the program is built.
	Labels []string
	Values map[string][]string
	Help   string
}

// Table has the rows of each program, by metric.
type Table map[string]map[string]Metric

var (
	heading = regexp.MustCompile(`^## (corepin-\w+)$`)
	row     = regexp.MustCompile("^\\| `([a-z_]+)` \\| (\\w+) \\| (.*?) ?\\| (.+) \\|$")
	quoted  = regexp.MustCompile("`([^`]+)`")
)

// Read reads the table from a file.
func Read(file string) (Table, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(string(text))
}

// Parse reads a table. A line that begins as a row and is none is an error.
func Parse(text string) (Table, error) {
	table := Table{}
	program := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if found := heading.FindStringSubmatch(line); found != nil {
			program = found[1]
			table[program] = map[string]Metric{}
			continue
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		found := row.FindStringSubmatch(line)
		if found == nil || program == "" {
			return nil, fmt.Errorf("the metrics' table has a row that cannot be read: %s", line)
		}
		m := Metric{Name: found[1], Type: found[2], Values: map[string][]string{}, Help: found[4]}
		for _, part := range strings.Split(found[3], ", ") {
			label, values, _ := strings.Cut(part, ": ")
			if name := quoted.FindStringSubmatch(label); name != nil {
				m.Labels = append(m.Labels, name[1])
				for _, value := range quoted.FindAllStringSubmatch(values, -1) {
					m.Values[name[1]] = append(m.Values[name[1]], value[1])
				}
			}
		}
		if _, twice := table[program][m.Name]; twice {
			return nil, fmt.Errorf("%s stands twice in the metrics' table of %s", m.Name, program)
		}
		table[program][m.Name] = m
	}
	return table, nil
}

// Differences are the differences between the table of a program and what it serves: metrics, types, label names and
// label values that only one of them has. Where there are none, they are what `promtool check metrics` says. Metrics that are not corepin's are
// not looked at.
func (t Table) Differences(program string, families []*dto.MetricFamily) []string {
	if t[program] == nil {
		return []string{"the table has no metrics of " + program}
	}
	var differences []string
	served := map[string]bool{}
	var own []*dto.MetricFamily
	for _, family := range families {
		name := family.GetName()
		if !strings.HasPrefix(name, "corepin_") {
			continue
		}
		served[name] = true
		own = append(own, family)
		m, documented := t[program][name]
		if !documented {
			differences = append(differences, fmt.Sprintf("%s serves %s, and the table does not have it", program, name))
			continue
		}
		differences = append(differences, m.differences(family)...)
	}
	for _, name := range slices.Sorted(maps.Keys(t[program])) {
		if !served[name] {
			differences = append(differences, fmt.Sprintf("the table has %s, and %s does not serve it", name, program))
		}
	}
	if len(differences) > 0 {
		return differences
	}
	problems, err := promlint.NewWithMetricFamilies(own).Lint()
	if err != nil {
		differences = append(differences, err.Error())
	}
	for _, problem := range problems {
		differences = append(differences, fmt.Sprintf("%s: %s", problem.Metric, problem.Text))
	}
	return differences
}

func (m Metric) differences(family *dto.MetricFamily) []string {
	var differences []string
	if kind := strings.ToLower(family.GetType().String()); kind != m.Type {
		differences = append(differences, fmt.Sprintf("%s is a %s, and a %s in the table", m.Name, kind, m.Type))
	}
	values := map[string]map[string]bool{}
	for _, metric := range family.GetMetric() {
		for _, pair := range metric.GetLabel() {
			if values[pair.GetName()] == nil {
				values[pair.GetName()] = map[string]bool{}
			}
			values[pair.GetName()][pair.GetValue()] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(values)), slices.Sorted(slices.Values(m.Labels)); !slices.Equal(got, want) {
		return append(differences, fmt.Sprintf("%s has the labels %q, and %q in the table", m.Name, got, want))
	}
	for label, documented := range m.Values {
		if got, want := slices.Sorted(maps.Keys(values[label])), slices.Sorted(slices.Values(documented)); !slices.Equal(got, want) {
			differences = append(differences, fmt.Sprintf("label %s of %s has the values %q, and %q in the table", label, m.Name, got, want))
		}
	}
	return differences
}
