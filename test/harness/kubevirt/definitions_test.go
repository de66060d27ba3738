// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// whole is a folder with the least that an installation needs, as kubectl prints it.
const whole = `{apiVersion: v1, kind: Namespace, metadata: {name: kubevirt, uid: u}}
---
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: virtualmachineinstances.kubevirt.io}, status: {}}
---
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: virtualmachines.kubevirt.io}}
---
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: kubevirts.kubevirt.io}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: kubevirt-apiserver, namespace: kubevirt}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: kubevirt-controller, namespace: kubevirt}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: kubevirt-handler, namespace: kubevirt}}
- {apiVersion: apps/v1, kind: DaemonSet, metadata: {name: virt-handler, namespace: kubevirt}}
---
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.subresources.kubevirt.io}, spec: {caBundle: "@CA_BUNDLE@", service: {name: virt-api, namespace: kubevirt, port: @PORT@}}}
---
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.other.kubevirt.io}, spec: {service: {name: virt-template, namespace: kubevirt}}}
---
{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: virt-api-mutator}, webhooks: [{name: a, clientConfig: {caBundle: b2xk, service: {name: virt-api, namespace: kubevirt, port: 443}}}]}
---
{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: virt-api-validator}, webhooks: [{name: a, clientConfig: {service: {name: virt-api}}}, {name: b, clientConfig: {service: {name: virt-operator}}}]}
---
{apiVersion: instancetype.kubevirt.io/v1beta1, kind: VirtualMachineClusterInstancetype, metadata: {name: cx1.large}, spec: {}}
`

func folder(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func names(objects []*unstructured.Unstructured) string {
	var all []string
	for _, object := range objects {
		all = append(all, object.GetName())
	}
	return strings.Join(all, " ")
}

func TestReadDefinitions(t *testing.T) {
	d, err := readDefinitions(folder(t, whole))
	if err != nil {
		t.Fatal(err)
	}
	want := "kubevirt virtualmachineinstances.kubevirt.io virtualmachines.kubevirt.io kubevirts.kubevirt.io kubevirt-apiserver kubevirt-controller kubevirt-handler"
	if got := names(d.first); got != want {
		t.Errorf("first come %s", got)
	}
	aggregated, err := reach(d.aggregated, "bmV3", "20001")
	if err != nil {
		t.Fatal(err)
	}
	if got := names(aggregated); got != "v1.subresources.kubevirt.io" {
		t.Errorf("aggregated are %s; nobody answers for another", got)
	}
	last, err := reach(d.last, "bmV3", "20001")
	if err != nil {
		t.Fatal(err)
	}
	if got := names(last); got != "virt-api-mutator virt-api-validator cx1.large" {
		t.Errorf("last come %s", got)
	}
	hooks, _ := last[1].Object["webhooks"].([]any)
	config := at(hooks[0], "clientConfig")
	if len(hooks) != 1 || config["caBundle"] != "bmV3" || at(hooks[0], "clientConfig")["service"].(map[string]any)["port"] != int64(20001) {
		t.Errorf("the webhooks are %v", hooks)
	}
}

func TestDefinitionsThatLackSomething(t *testing.T) {
	for _, lacking := range []string{"virtualmachines.kubevirt.io", "kubevirt-handler", "virt-api-mutator", "v1.subresources.kubevirt.io"} {
		_, err := readDefinitions(folder(t, strings.ReplaceAll(whole, "name: "+lacking, "name: other")))
		if err == nil || !strings.Contains(err.Error(), lacking) {
			t.Errorf("without %s: got %v", lacking, err)
		}
	}
	if _, err := readDefinitions(t.TempDir()); err == nil {
		t.Error("an empty folder is no installation")
	}
}

// TestFind names everything that is missing at once.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	_, err := Find(dir)
	if err == nil {
		t.Fatal("an empty folder has no programs")
	}
	for _, want := range []string{"virt-api", "virt-controller", "virtctl", "manifests"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
}
