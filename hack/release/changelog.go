// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// changelog writes the subjects of the commits since the release before, by the part of the repository that they name.
func (r *release) changelog() error {
	since, err := output("git", "tag", "--merged", "HEAD", "--sort=-v:refname", "--list", "v[0-9]*")
	if err != nil {
		return err
	}
	span := "HEAD"
	for _, tag := range strings.Fields(since) {
		if tag != r.version {
			span = tag + "..HEAD"
			break
		}
	}
	subjects, err := output("git", "log", "--format=%s", "--no-merges", span)
	if err != nil {
		return err
	}
	return r.write("CHANGELOG.md", changes(r.version, r.date, strings.Split(subjects, "\n")))
}

// changes is the text of a changelog. Subjects are "area: what it does now", newest first.
func changes(version, date string, subjects []string) []byte {
	byPart := map[string][]string{}
	for _, subject := range subjects {
		area, what, ok := strings.Cut(subject, ": ")
		if !ok {
			area, what = "", subject
		}
		part, _, _ := strings.Cut(strings.Split(area, ",")[0], "/")
		byPart[part] = append(byPart[part], what)
	}
	text := fmt.Appendf(nil, "# corepin %s, %s\n", version, date[:len("2006-01-02")])
	for _, part := range slices.Sorted(maps.Keys(byPart)) {
		name := part
		if name == "" {
			name = "other"
		}
		text = fmt.Appendf(text, "\n## %s\n\n", name)
		for _, what := range byPart[part] {
			text = fmt.Appendf(text, "- %s\n", what)
		}
	}
	return text
}
