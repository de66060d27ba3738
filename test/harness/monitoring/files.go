// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"

	"sigs.k8s.io/yaml"
)

// Rule is one alert.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Group is one group of rules.
type Group struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Rules reads the alerts of a PrometheusRule.
func Rules(tree fs.FS, file string) ([]Rule, error) {
	text, err := fs.ReadFile(tree, file)
	if err != nil {
		return nil, err
	}
	var object struct {
		Spec struct {
			Groups []Group `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	var all []Rule
	for _, group := range object.Spec.Groups {
		all = append(all, group.Rules...)
	}
	return all, nil
}

// dashboard is what is looked at of a Grafana dashboard.
type dashboard struct {
	UID        string
	Title      string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

// labelValues is how Grafana asks for the values of a label.
var labelValues = regexp.MustCompile(`^label_values\((.+), *(\w+)\)$`)

// DashboardQueries reads the queries of the dashboards in a folder, by where each is written. A panel without a query is
// an error.
func DashboardQueries(tree fs.FS, folder string) (map[string]string, error) {
	files, err := fs.Glob(tree, path.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	queries := map[string]string{}
	for _, file := range files {
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return nil, err
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		if d.UID == "" || d.Title == "" || len(d.Panels) == 0 {
			return nil, fmt.Errorf("%s has no uid, no title or no panels", file)
		}
		for _, variable := range d.Templating.List {
			if variable.Type != "query" {
				continue
			}
			asked := labelValues.FindStringSubmatch(variable.Query)
			if asked == nil {
				return nil, fmt.Errorf("%s: variable %s asks %q, and not for label_values", file, variable.Name, variable.Query)
			}
			queries[file+" variable "+variable.Name] = asked[1]
		}
		for _, panel := range d.Panels {
			if len(panel.Targets) == 0 {
				return nil, fmt.Errorf("%s: panel %s has no query", file, panel.Title)
			}
			for i, target := range panel.Targets {
				queries[fmt.Sprintf("%s panel %s %d", file, panel.Title, i)] = target.Expr
			}
		}
	}
	return queries, nil
}
