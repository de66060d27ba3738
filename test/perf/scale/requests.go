// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"corepin.dev/corepin/test/harness/testbed"
)

// auditPolicy makes the API server write down the scheduler's requests, and no others.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:` + testbed.SystemNamespace + `:corepin-scheduler"]
`

// audit is the API server's log of the scheduler's requests.
type audit struct {
	file string
	from int64 // what was written before is not counted
}

// newAudit gives an audit with its policy in dir, and the API server's flags for it.
func newAudit(dir string) (*audit, []string, error) {
	policy := filepath.Join(dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o644); err != nil {
		return nil, nil, fmt.Errorf("writing the audit policy: %w", err)
	}
	file := filepath.Join(dir, "audit.log")
	return &audit{file: file}, []string{"--audit-policy-file=" + policy, "--audit-log-path=" + file}, nil
}

// begin makes the requests count that come from now on.
func (a *audit) begin() error {
	info, err := os.Stat(a.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	a.from = info.Size()
	return nil
}

// request is what requests are counted by.
type request struct{ verb, resource, code string }

// entry is a line of the audit log, as far as it is read. A watch has two: one when it begins.
type entry struct {
	Stage, Verb string
	ObjectRef   struct{ Resource, Subresource string }

	ResponseStatus struct{ Code int }
}

// requests counts the requests that have been answered, by verb, resource and class of the answer.
func (a *audit) requests() (map[request]int, error) {
	file, err := os.Open(a.file)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(a.from, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return requestsIn(file)
}

func requestsIn(log io.Reader) (map[request]int, error) {
	counts := map[request]int{}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if e.Verb == "watch" && e.Stage != "ResponseStarted" || e.Verb != "watch" && e.Stage != "ResponseComplete" {
			continue
		}
		resource := cmp.Or(e.ObjectRef.Resource, "-")
		if e.ObjectRef.Subresource != "" {
			resource += "/" + e.ObjectRef.Subresource
		}
		counts[request{e.Verb, resource, fmt.Sprintf("%dxx", e.ResponseStatus.Code/100)}]++
	}
	return counts, lines.Err()
}

// perVM is a line for each kind of request, the most frequent first.
func perVM(counts map[request]int, vms int) string {
	var b strings.Builder
	order := slices.SortedFunc(maps.Keys(counts), func(x, y request) int {
		return cmp.Or(counts[y]-counts[x], strings.Compare(x.verb+x.resource+x.code, y.verb+y.resource+y.code))
	})
	sum := 0
	for _, r := range order {
		fmt.Fprintf(&b, "%-8s %-24s %4s %8d %8.3f\n", r.verb, r.resource, r.code, counts[r], float64(counts[r])/float64(vms))
		sum += counts[r]
	}
	fmt.Fprintf(&b, "%-8s %-24s %4s %8d %8.3f\n", "all", "", "", sum, float64(sum)/float64(vms))
	return b.String()
}
