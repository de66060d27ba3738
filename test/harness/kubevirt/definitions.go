// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"corepin.dev/corepin/test/harness/cluster"
)

// apiService is the name of virt-api's Service, by which webhooks and aggregated APIs are known to be its.
const apiService = "virt-api"

// Definitions are what virt-operator makes of an installation, without the workloads, in the order in which they are applied.
type Definitions struct {
	// first are definitions and rights, which virt-api and virt-controller need to start.
	first []*unstructured.Unstructured
	// aggregated are virt-api's APIServices.
	aggregated []*unstructured.Unstructured
	// last are virt-api's webhooks, and what is checked by them: instancetypes and preferences.
	last []*unstructured.Unstructured
}

// ofWorkloads are kinds that are left out: this package makes its own of what it needs of them. A KubeVirt object is made anew too.
var ofWorkloads = []string{"ConfigMap", "DaemonSet", "Deployment", "KubeVirt", "Secret", "Service"}

// readDefinitions reads every file *.yaml of a folder. Objects may be as kubectl prints them from a cluster. The placeholders
// @CA_BUNDLE@ and @PORT@ stand for what only the installation knows.
func readDefinitions(folder string) (*Definitions, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("folder %s holds no file *.yaml", folder)
	}
	slices.Sort(files)
	d := &Definitions{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading KubeVirt's definitions: %w", err)
		}
		objects, err := cluster.Decode(bytes.ReplaceAll(data, []byte("@PORT@"), []byte("0")))
		if err != nil {
			return nil, fmt.Errorf("reading KubeVirt's definitions in %s: %w", file, err)
		}
		for _, object := range objects {
			d.add(object)
		}
	}
	return d, d.complete()
}

func (d *Definitions) add(object *unstructured.Unstructured) {
	kind := object.GetKind()
	if object.GetName() == "" || slices.Contains(ofWorkloads, kind) {
		return
	}
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "ownerReferences"} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(object.Object, "status")
	switch {
	case kind == "APIService":
		d.aggregated = append(d.aggregated, object)
	case strings.HasSuffix(kind, "WebhookConfiguration"), strings.HasPrefix(object.GetAPIVersion(), "instancetype.kubevirt.io/"):
		d.last = append(d.last, object)
	default:
		d.first = append(d.first, object)
	}
}

// complete reports what an installation cannot do without.
func (d *Definitions) complete() error {
	var missing []error
	need := func(list []*unstructured.Unstructured, kind, name string) {
		if !slices.ContainsFunc(list, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name }) {
			missing = append(missing, fmt.Errorf("there is no %s %s", kind, name))
		}
	}
	for _, name := range []string{"virtualmachineinstances.kubevirt.io", "virtualmachines.kubevirt.io", "kubevirts.kubevirt.io"} {
		need(d.first, "CustomResourceDefinition", name)
	}
	need(d.first, "Namespace", Namespace)
	for _, account := range []string{apiAccount, ControllerAccount, HandlerAccount} {
		need(d.first, "ServiceAccount", account)
	}
	need(d.aggregated, "APIService", "v1.subresources.kubevirt.io")
	need(d.last, "MutatingWebhookConfiguration", "virt-api-mutator")
	need(d.last, "ValidatingWebhookConfiguration", "virt-api-validator")
	return errors.Join(missing...)
}

// reach makes what names virt-api's Service reach its process: with the CA that signed its certificate and the port that it listens
// on. What names another Service is left out, since nobody would answer there.
func reach(objects []*unstructured.Unstructured, bundle, port string) ([]*unstructured.Unstructured, error) {
	number, err := strconv.ParseInt(port, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("reading virt-api's port: %w", err)
	}
	var reached []*unstructured.Unstructured
	for _, object := range objects {
		object = object.DeepCopy()
		hooks, isWebhooks := object.Object["webhooks"].([]any)
		spec, isObject := object.Object["spec"].(map[string]any)
		switch {
		case isWebhooks:
			hooks = slices.DeleteFunc(hooks, func(hook any) bool { return !pointTo(at(hook, "clientConfig"), bundle, number) })
			object.Object["webhooks"] = hooks
		case object.GetKind() != "APIService" || !isObject:
		case !pointTo(spec, bundle, number):
			continue
		}
		reached = append(reached, object)
	}
	return reached, nil
}

// pointTo changes a place that has a service and a CA; false where the service is not virt-api.
func pointTo(place map[string]any, bundle string, port int64) bool {
	service := at(place, "service")
	if service["name"] != apiService {
		return false
	}
	service["port"] = port
	service["namespace"] = Namespace
	place["caBundle"] = bundle
	return true
}

func at(value any, field string) map[string]any {
	object, _ := value.(map[string]any)
	inner, _ := object[field].(map[string]any)
	return inner
}
