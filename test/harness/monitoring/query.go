// SPDX-License-Identifier: Apache-2.0

// Package monitoring reads what manifests/monitoring asks of Prometheus: the series that its alerts and dashboards select.
package monitoring

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Selector is one choice of series in a query.
type Selector struct {
	Metric string
	// Labels has the values that are asked for, by label. It has no values for a label whose value a variable gives.
	Labels map[string][]string
}

var (
	// token is one token of a query, as far as a selector is concerned.
	token = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|\{[^}]*\}|[a-zA-Z_:][a-zA-Z0-9_:]*|[^\sa-zA-Z_:"\[{]`)
	// matcher is one label's condition between braces.
	matcher = regexp.MustCompile(`([a-zA-Z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	// name is a metric, a function or a keyword.
	name = regexp.MustCompile(`^[a-zA-Z_:]`)
)

// keywords are words of the query language that no parenthesis follows. grouping words have labels in theirs.
var (
	keywords = []string{"and", "or", "unless", "bool", "offset", "inf", "nan"}
	grouping = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
)

// Selectors are the selectors of a query, in its order.
func Selectors(query string) ([]Selector, error) {
	tokens := token.FindAllString(query, -1)
	var found []Selector
	for i := 0; i < len(tokens); i++ {
		next := ""
		if i+1 < len(tokens) {
			next = tokens[i+1]
		}
		word := tokens[i]
		switch {
		case slices.Contains(grouping, word) && next == "(":
			for i < len(tokens) && tokens[i] != ")" {
				i++
			}
		case !name.MatchString(word) || next == "(" || next == "by" || next == "without" || slices.Contains(keywords, strings.ToLower(word)):
		default:
			s := Selector{Metric: word, Labels: map[string][]string{}}
			if strings.HasPrefix(next, "{") {
				if err := s.match(next); err != nil {
					return nil, fmt.Errorf("%w, in %s", err, query)
				}
			}
			found = append(found, s)
		}
	}
	return found, nil
}

func (s *Selector) match(braces string) error {
	rest := braces
	for _, m := range matcher.FindAllStringSubmatch(braces, -1) {
		rest = strings.Replace(rest, m[0], "", 1)
		s.Labels[m[1]] = nil
		if !strings.Contains(m[3], "$") {
			s.Labels[m[1]] = strings.Split(m[3], "|")
		}
	}
	if strings.Trim(rest, "{}, ") != "" {
		return fmt.Errorf("%s are no conditions that can be read", braces)
	}
	return nil
}

// Series are all series that may be selected: by metric, the values of each label. A label without values may have any.
type Series map[string]map[string][]string

// targetLabels are what Prometheus adds to every series, by the monitors in manifests/monitoring.
var targetLabels = []string{"job", "instance", "pod", "namespace", "node", "container", "endpoint", "service"}

var histogramSuffix = regexp.MustCompile(`_(bucket|sum|count)$`)

// Missing says what of a query selects nothing: a metric that there is not, or a label or a value that it does not have.
func (s Series) Missing(query string) []string {
	selectors, err := Selectors(query)
	if err != nil {
		return []string{err.Error()}
	}
	if len(selectors) == 0 {
		return []string{"it selects nothing: " + query}
	}
	var missing []string
	for _, selector := range selectors {
		labels, there := s[selector.Metric]
		if !there {
			labels, there = s[histogramSuffix.ReplaceAllString(selector.Metric, "")]
		}
		if !there {
			missing = append(missing, "there is no metric "+selector.Metric)
			continue
		}
		for _, label := range slices.Sorted(maps.Keys(selector.Labels)) {
			values, has := labels[label]
			if !has && !slices.Contains(targetLabels, label) {
				missing = append(missing, fmt.Sprintf("%s has no label %s", selector.Metric, label))
			}
			for _, value := range selector.Labels[label] {
				if len(values) > 0 && !slices.Contains(values, value) {
					missing = append(missing, fmt.Sprintf("label %s of %s is never %s", label, selector.Metric, value))
				}
			}
		}
	}
	return missing
}
