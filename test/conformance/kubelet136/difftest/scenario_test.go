// SPDX-License-Identifier: Apache-2.0

package difftest

import (
	"strings"
	"testing"
)

// TestScenarioText makes sure that what is printed of a failure can be read back.
func TestScenarioText(t *testing.T) {
	for at := range uint64(400) {
		text := newDice(at).scenario(at%2 == 1).String()
		again, err := parseScenario(text)
		if err != nil {
			t.Fatalf("seed %d: %v in\n%s", at, err, text)
		}
		if again.String() != text {
			t.Fatalf("seed %d: printed\n%s\nread back as\n%s", at, text, again)
		}
	}
}

func FuzzParseScenario(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(newDice(seed).scenario(seed%2 == 1).String())
	}
	f.Add("machine 1 sockets x 1 numa x 1 cores x 1 threads\nmemory-manager memory 1Gi-1Mi\ndevices example.com/a prefers 2!@0+1 1@-\nrestart plugins-later\nadd p: init c 1 memory=1 example.com/a=1\n= x")
	f.Add("machine 1 sockets x 1 numa x 1 cores x 1 threads\nadd  pod-level 0: c 1")                        // a pod without a name
	f.Add("machine 1 sockets x 1 numa x 1 cores x 1 threads\nmemory-manager memory 2791728e42441073741824") // endless for resource.ParseQuantity
	f.Add("machine 1 sockets x 1 numa x 1 cores x 1 threads\nadd p: c 1 example.com/a=6666666666666666666666666666663")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || strings.ContainsAny(text, "\r\v\f") {
			return
		}
		s, err := parseScenario(text)
		if err != nil {
			return
		}
		printed := s.String()
		again, err := parseScenario(printed)
		if err != nil || again.String() != printed {
			t.Errorf("%q is printed as\n%s\nand read back with error %v as\n%s", text, printed, err, again)
		}
	})
}
