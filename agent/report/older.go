// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"
)

// The words of an API server about a field that the definition of a kind does not have (typed/validate.go of
// sigs.k8s.io/structured-merge-diff, v6.3.0), and the selectors of list items in such a field's path.
var (
	undeclared = regexp.MustCompile(`(\.status\.\S+): field not declared in schema`)
	selector   = regexp.MustCompile(`\[[^\]]*\]`)
)

// applyStatus writes the status of a report. A server-side apply fails where a field is not in the definition of NodeCPU, so an
// agent that was upgraded before the definition would report nothing any more. Such fields are then left out, all others are
// written. The readers of the report can tell (package nodereport, Format). The whole report is tried again with each write.
func (p *Publisher) applyStatus(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	written, err := p.options.Client.ApplyStatus(ctx, object.GetName(), object, p.applyOptions())
	fields := undeclaredFields(err)
	if len(fields) == 0 {
		return written, err
	}
	for _, field := range fields {
		removeField(object.Object, strings.Split(field, "."))
	}
	klog.FromContext(ctx).Info("the definition of NodeCPU at the API server is older than this agent, and the report is written without some fields; apply the definition of the agent's version",
		"fields", fields)
	return p.options.Client.ApplyStatus(ctx, object.GetName(), object, p.applyOptions())
}

// undeclaredFields are the paths of the fields that the API server does not know, such as status.granted.pins; none for other errors.
func undeclaredFields(err error) (fields []string) {
	if err == nil {
		return nil
	}
	for _, found := range undeclared.FindAllStringSubmatch(err.Error(), -1) {
		fields = append(fields, strings.TrimPrefix(selector.ReplaceAllString(found[1], ""), "."))
	}
	return fields
}

// removeField removes the field at a path, of all items where the path leads through a list.
func removeField(value any, path []string) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			removeField(item, path)
		}
	case map[string]any:
		if len(path) == 1 {
			delete(v, path[0])
		} else {
			removeField(v[path[0]], path[1:])
		}
	}
}
