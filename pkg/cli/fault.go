package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	goyaml "sigs.k8s.io/yaml/goyaml.v3"
)

// fieldPath is a field in a message, such as spec.containers[0].name.
var fieldPath = regexp.MustCompile(`\b(?:spec|status|metadata)(?:\.[A-Za-z]\w*|\[\d+\])+`)

// faulty is an error about the object that begins with its place: the line of the first field that the
// message names, if there is one in the object.
func (o *object) faulty(err error) error {
	return o.faultyAt(fieldPath.FindString(err.Error()), err)
}

// faultyAt is an error about a field of the object that begins with its place.
func (o *object) faultyAt(path string, err error) error {
	at := *o
	if line := o.lineOf(path); line > 0 {
		at.at.line = line
	}
	return fmt.Errorf("%s: %w", at.where(), err)
}

// lineOf is the line of a field in the file; 0 where it is not known. Where the last parts of the path are
// not in the object, because something is missing, it is the line of what is there of it.
func (o *object) lineOf(path string) int {
	path = strings.Trim(o.path+"."+path, ".")
	if path == "" {
		return 0
	}
	if o.source.root == nil {
		o.source.root = &goyaml.Node{}
		if goyaml.Unmarshal(o.source.text, o.source.root) != nil {
			o.source.root = &goyaml.Node{}
		}
	}
	if len(o.source.root.Content) == 0 {
		return 0
	}
	line := 0
	node := o.source.root.Content[0]
	for part := range strings.SplitSeq(strings.TrimPrefix(strings.ReplaceAll(path, "[", ".["), "."), ".") {
		key, value := child(node, part)
		if key == nil {
			break
		}
		line, node = key.Line, value
	}
	if line == 0 {
		return 0
	}
	return o.source.at.line + line - 1
}

// child is a field of an object, or the item "[i]" of a list, and where it begins; nil for none.
func child(node *goyaml.Node, part string) (key, value *goyaml.Node) {
	if node.Kind == goyaml.SequenceNode {
		i, err := strconv.Atoi(strings.Trim(part, "[]"))
		if err != nil || i < 0 || i >= len(node.Content) {
			return nil, nil
		}
		return node.Content[i], node.Content[i]
	}
	if node.Kind != goyaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == part {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}

// wrongType is how the JSON decoder refuses a value.
var wrongType = regexp.MustCompile(`json: cannot unmarshal (\w+)(.*) into Go (?:struct field \w+\.(\S+)|value) of type \**(\S+)`)

// The decoder's words for what it found, and for what it wants, by how they begin, in those of YAML.
var (
	found = map[string]string{"number": "a number", "string": "a text", "bool": "true or false", "array": "a list", "object": "fields (name: value)"}
	wants = []struct{ begins, want string }{
		{"[]", "a list"}, {"string", "a text, in quotes"}, {"types.", "a text, in quotes"}, {"bool", "true or false"},
		{"int", "a whole number"}, {"uint", "a whole number"}, {"float", "a number"}, {"", "fields (name: value)"},
	}
)

// plain says what the JSON decoder says in the words of whoever wrote the object.
func plain(err error) error {
	if err == nil {
		return nil
	}
	m := wrongType.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	i := slices.IndexFunc(wants, func(w struct{ begins, want string }) bool { return strings.HasPrefix(m[4], w.begins) })
	return fmt.Errorf("%s is %s%s; want %s", cmp.Or(m[3], "the object"), cmp.Or(found[m[1]], m[1]), m[2], wants[i].want)
}

// oneLine joins errors with semicolons.
func oneLine(errs []error) error {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

// vastNumber is a number, with or without quotes, with more than two digits in its exponent.
var vastNumber = regexp.MustCompile(`[\s":,\[][+-]?[0-9.]+[eE][+-]?[0-9]{3,}[\s",}\]]`)

// vast refuses amounts such as 1e999999999 before they are decoded: resource.Quantity computes with all their
// digits, which takes minutes and the memory of the machine.
func (o *object) vast() error {
	if !vastNumber.Match(o.json) {
		return nil
	}
	var fields map[string]any
	if _, err := o.decode(&fields); err != nil {
		return err
	}
	return vastIn(fields, "")
}

// vastIn looks at every value but the texts of the metadata, which are no amounts.
func vastIn(value any, path string) error {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if path == "" && name == "metadata" {
				continue
			}
			if err := vastIn(value[name], strings.TrimPrefix(path+"."+name, ".")); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range value {
			if err := vastIn(item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case string:
		if vastNumber.MatchString(" " + value + " ") {
			return fmt.Errorf("%s is %s; want a quantity, such as 2, 500m or 1Gi", path, value)
		}
	}
	return nil
}

// withField names the field of a quantity that could not be read, which the decoder does not.
func (o *object) withField(err error) error {
	if !errors.Is(err, resource.ErrFormatWrong) && !strings.Contains(err.Error(), resource.ErrFormatWrong.Error()) {
		return err
	}
	var pod struct {
		Spec map[string]any `json:"spec"`
	}
	if _, failed := o.decode(&pod); failed != nil {
		return err
	}
	for _, list := range []string{"initContainers", "containers"} {
		containers, _ := pod.Spec[list].([]any)
		for i, container := range containers {
			fields, _ := container.(map[string]any)
			resources, _ := fields["resources"].(map[string]any)
			for _, kind := range []string{"limits", "requests"} {
				amounts, _ := resources[kind].(map[string]any)
				if name := notQuantity(amounts); name != "" {
					return fmt.Errorf("spec.%s[%d].resources.%s.%s is %v; want a quantity, such as 2, 500m or 1Gi", list, i, kind, name, amounts[name])
				}
			}
		}
	}
	return err
}

// notQuantity is the first of the amounts, by name, that is none; "" if all are.
func notQuantity(amounts map[string]any) string {
	var wrong []string
	for name, amount := range amounts {
		if _, err := resource.ParseQuantity(strings.TrimSpace(fmt.Sprint(amount))); err != nil {
			wrong = append(wrong, name)
		}
	}
	if wrong == nil {
		return ""
	}
	return slices.Min(wrong)
}

// invalid refuses pods that an API server would, as far as the answer depends on it.
func invalid(pod *corev1.Pod) error {
	if pod.Name == "" {
		return errors.New("metadata.name is missing")
	}
	if len(pod.Spec.Containers) == 0 {
		return errors.New("spec.containers is missing or empty")
	}
	seen := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		if err := invalidContainer(&pod.Spec.InitContainers[i], seen); err != nil {
			return fmt.Errorf("spec.initContainers[%d]%w", i, err)
		}
	}
	for i := range pod.Spec.Containers {
		if err := invalidContainer(&pod.Spec.Containers[i], seen); err != nil {
			return fmt.Errorf("spec.containers[%d]%w", i, err)
		}
	}
	return nil
}

// invalidContainer continues a field path.
func invalidContainer(c *corev1.Container, seen map[string]bool) error {
	if c.Name == "" || seen[c.Name] {
		return fmt.Errorf(".name: %q is empty or the name of another container too", c.Name)
	}
	seen[c.Name] = true
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
		_, limited := c.Resources.Limits[name]
		switch {
		case limit.Sign() < 0:
			return fmt.Errorf(".resources.limits.%s: %s is negative", name, limit.String())
		case request.Sign() < 0:
			return fmt.Errorf(".resources.requests.%s: %s is negative", name, request.String())
		case limited && request.Cmp(limit) > 0:
			return fmt.Errorf(".resources.requests.%s: %s is more than the limit, %s", name, request.String(), limit.String())
		}
	}
	return nil
}
