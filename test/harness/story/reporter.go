// SPDX-License-Identifier: Apache-2.0

package story

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Reporter gets each step when it ends.
type Reporter interface {
	// Step is called when a step has ended; what it found out is in facts, a line each.
	Step(name string, took time.Duration, facts []string, err error)
	// Result is called once, at the end.
	Result(Result)
}

// Text reports to a person.
func Text(w io.Writer) Reporter { return &textReporter{w: w} }

// JSON reports to a machine: an object a line, {"step":…} for each step and {"result":…} at the end.
func JSON(w io.Writer) Reporter { return &jsonReporter{encoder: json.NewEncoder(w)} }

type textReporter struct{ w io.Writer }

func (r *textReporter) Step(name string, took time.Duration, facts []string, err error) {
	mark := "ok  "
	if err != nil {
		mark = "FAIL"
	}
	fmt.Fprintf(r.w, "%s %6.1fs  %s\n", mark, took.Seconds(), name)
	for _, fact := range facts {
		fmt.Fprintf(r.w, "               %s\n", fact)
	}
	if err != nil {
		fmt.Fprint(r.w, indent(err.Error()))
	}
}

func (r *textReporter) Result(result Result) {
	fmt.Fprintln(r.w)
	result.WriteText(r.w)
}

type jsonReporter struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (r *jsonReporter) Step(name string, took time.Duration, facts []string, err error) {
	line := struct {
		Step    string   `json:"step"`
		Seconds float64  `json:"seconds"`
		Facts   []string `json:"facts,omitempty"`
		Error   string   `json:"error,omitempty"`
	}{Step: name, Seconds: took.Seconds(), Facts: facts}
	if err != nil {
		line.Error = err.Error()
	}
	r.write(line)
}

func (r *jsonReporter) Result(result Result) {
	r.write(struct {
		Result Result `json:"result"`
	}{result})
}

func (r *jsonReporter) write(line any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A reader that has gone away must not stop the story: what matters is the exit code.
	_ = r.encoder.Encode(line)
}
