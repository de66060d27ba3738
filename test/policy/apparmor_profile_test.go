// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"corepin.dev/corepin/manifests"
)

const profiles = "overlays/apparmor/profiles"

// fileRule is one of an AppArmor profile: which paths, and what may be done with them.
type fileRule struct {
	pattern string
	paths   *regexp.Regexp
	rights  string
}

// confinement is an AppArmor profile, as far as the tests look at it.
type confinement struct {
	name         string
	files        []fileRule
	capabilities []string
	signals      []string
}

var (
	variableLine = regexp.MustCompile(`^(@\{\w+\})=(\S+)$`)
	profileLine  = regexp.MustCompile(`^profile (\S+) flags=`)
	fileLine     = regexp.MustCompile(`^  ([/@]\S*) (\w+),$`)
)

// readProfile reads a profile that is written one rule a line.
func readProfile(t *testing.T, name string) confinement {
	t.Helper()
	text, err := fs.ReadFile(manifests.FS, profiles+"/"+name)
	if err != nil {
		t.Fatal(err)
	}
	var c confinement
	variables := []string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if set := variableLine.FindStringSubmatch(line); set != nil {
			variables = append(variables, set[1], set[2])
		}
		line = strings.NewReplacer(variables...).Replace(line)
		if named := profileLine.FindStringSubmatch(line); named != nil {
			c.name = named[1]
		}
		if rule := fileLine.FindStringSubmatch(line); rule != nil {
			c.files = append(c.files, fileRule{rule[1], matching(rule[1]), rule[2]})
		}
		if capability, ok := strings.CutPrefix(line, "  capability "); ok {
			c.capabilities = append(c.capabilities, strings.TrimSuffix(capability, ","))
		}
		if signal, ok := strings.CutPrefix(line, "  signal "); ok {
			c.signals = append(c.signals, signal)
		}
	}
	return c
}

// globs are what a pattern of AppArmor has (apparmor.d(5)), and what that is as a regular expression.
var globs = strings.NewReplacer("/**", `/[^/].*`, "[0-9]*", `[0-9][^/]*`, "/*", `/[^/]+`, "*", `[^/]*`, ".", `\.`, "{", "(", "}", ")", ",", "|")

func matching(pattern string) *regexp.Regexp {
	return regexp.MustCompile("^" + globs.Replace(pattern) + "$")
}

// may reports whether a path may be opened for all of rights.
func (c confinement) may(path, rights string) bool {
	return slices.ContainsFunc(c.files, func(r fileRule) bool {
		return r.paths.MatchString(path) && !strings.ContainsFunc(rights, func(right rune) bool { return !strings.ContainsRune(r.rights, right) })
	})
}
