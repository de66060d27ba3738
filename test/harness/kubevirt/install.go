// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"context"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/test/harness/cluster"
	"corepin.dev/corepin/test/harness/pki"
	"corepin.dev/corepin/test/harness/process"
)

// startDeadline is for one process to do its first work, on a machine that is busy with others.
const startDeadline = 3 * time.Minute

// imageTag is in the names of images, which exist nowhere.
const imageTag = "localhost/kubevirt/%s:test"

// Installation is a running control plane of KubeVirt. The cluster's Stop ends its processes.
type Installation struct {
	API        *process.Process
	Controller *process.Process

	programs *Programs
	cluster  *cluster.Cluster
	keys     string // the folder with the certificates
	bundle   string // the CA's certificate, in base64
}

// Install brings KubeVirt up and returns when virt-api answers, its webhooks are in force and virt-controller leads.
func Install(ctx context.Context, c *cluster.Cluster, p *Programs, keys string) (*Installation, error) {
	i := &Installation{programs: p, cluster: c, keys: keys}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"applying KubeVirt's definitions", func(ctx context.Context) error { return c.ApplyObjects(ctx, p.first) }},
		{"making the KubeVirt object", i.makeObject},
		{"making certificates", i.makeCertificates},
		{"starting virt-api", i.startAPI},
		{"starting virt-controller", i.startController},
	} {
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return i, nil
}

var (
	kubeVirts               = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "kubevirts"}
	virtualMachineInstances = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}
)

// makeObject makes the KubeVirt object as virt-operator leaves it. Without a phase KubeVirt's processes take defaults for its
// settings, and without the default architecture the webhooks refuse every VM.
func (i *Installation) makeObject(ctx context.Context) error {
	object := `{apiVersion: kubevirt.io/v1, kind: KubeVirt, metadata: {name: kubevirt, namespace: kubevirt},
 spec: {workloadUpdateStrategy: {workloadUpdateMethods: [LiveMigrate]}, configuration: {developerConfiguration: {featureGates: [CPUManager, Sidecar, HotplugVolumes]}}}}`
	if err := i.cluster.Apply(ctx, []byte(object)); err != nil {
		return err
	}
	status := fmt.Appendf(nil, `{"status": {"phase": "Deployed", "defaultArchitecture": %q, "observedGeneration": 1,
 "conditions": [{"type": "Available", "status": "True", "reason": "AllComponentsReady", "message": "All components are ready."}]}}`, runtime.GOARCH)
	client := i.cluster.Dynamic().Resource(kubeVirts).Namespace(Namespace)
	_, err := client.Patch(ctx, "kubevirt", types.MergePatchType, status, metav1.PatchOptions{}, "status")
	return err
}

// makeCertificates makes one CA for all of KubeVirt, as virt-operator does, and what each process needs. KubeVirt's processes know
// each other by the common names.
func (i *Installation) makeCertificates(ctx context.Context) error {
	if err := os.MkdirAll(i.keys, 0o700); err != nil {
		return err
	}
	ca, err := pki.NewAuthority("kubevirt.io")
	if err != nil {
		return err
	}
	i.bundle = base64.StdEncoding.EncodeToString(ca.PEM)
	names := []string{apiService + "." + Namespace + ".svc", apiService + "." + Namespace}
	err = errors.Join(
		ca.IssueServer(i.key("virt-api"), pkix.Name{CommonName: "virt-api.kubevirt.pod.cluster.local"}, names),
		ca.IssueServer(i.key("virt-controller"), pkix.Name{CommonName: "virt-controller.kubevirt.pod.cluster.local"}, nil),
		ca.IssueClient(i.key("virt-handler"), pkix.Name{CommonName: "kubevirt.io:system:client:virt-handler"}),
	)
	if err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	for _, name := range []string{"kubevirt-ca", "kubevirt-export-ca", "kubevirt-backup-ca"} {
		objects = append(objects, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": Namespace},
			"data": map[string]any{"ca-bundle": string(ca.PEM)},
		}})
	}
	// A webhook is reached through a Service, and a Service's endpoint may not be on loopback. An ExternalName may.
	objects = append(objects, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": apiService, "namespace": Namespace},
		"spec": map[string]any{"type": "ExternalName", "externalName": "localhost"},
	}})
	return i.cluster.ApplyObjects(ctx, objects)
}

func (i *Installation) key(name string) string { return filepath.Join(i.keys, name) }

// startAPI starts virt-api and puts its aggregated API and its webhooks in force once it answers. From then on nothing of KubeVirt's
// is written without it.
func (i *Installation) startAPI(ctx context.Context) error {
	kubeconfig, err := i.cluster.ServiceAccountKubeconfig(ctx, Namespace, apiAccount)
	if err != nil {
		return err
	}
	addresses, err := cluster.FreeAddresses(1)
	if err != nil {
		return err
	}
	port := strings.TrimPrefix(addresses[0], "127.0.0.1:")
	i.API, err = i.cluster.StartProcess("virt-api", i.programs.path("virt-api"),
		"--kubeconfig="+kubeconfig, "--listen=127.0.0.1", "--port="+port, "-v=2",
		"--tls-cert-file="+i.key("virt-api.crt"), "--tls-key-file="+i.key("virt-api.key"),
		"--handler-cert-file="+i.key("virt-handler.crt"), "--handler-key-file="+i.key("virt-handler.key"))
	if err != nil {
		return err
	}
	aggregated, err := reach(i.programs.aggregated, i.bundle, port)
	if err != nil {
		return err
	}
	if err := i.cluster.ApplyObjects(ctx, aggregated); err != nil {
		return err
	}
	err = i.API.Await(ctx, "virt-api to answer", startDeadline, func(ctx context.Context) error {
		_, err := i.cluster.Client().Discovery().RESTClient().Get().AbsPath("/apis/subresources.kubevirt.io/v1/healthz").DoRaw(ctx)
		return err
	})
	if err != nil {
		return err
	}
	last, err := reach(i.programs.last, i.bundle, port)
	if err != nil {
		return err
	}
	if err := i.cluster.ApplyObjects(ctx, last); err != nil {
		return err
	}
	return i.API.Await(ctx, "KubeVirt's webhooks to be in force", startDeadline, i.mutates)
}

// mutates reports whether the API server asks virt-api about a new VMI: it takes a moment to learn of webhooks.
func (i *Installation) mutates(ctx context.Context) error {
	probe := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": map[string]any{"name": "probe", "namespace": "default"},
		"spec": map[string]any{"domain": map[string]any{"devices": map[string]any{}, "memory": map[string]any{"guest": "64Mi"}}},
	}}
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	made, err := i.cluster.Dynamic().Resource(virtualMachineInstances).Namespace("default").Create(ctx, probe, dryRun)
	if err != nil {
		return err
	}
	model, _, err := unstructured.NestedString(made.Object, "spec", "domain", "cpu", "model")
	if err != nil {
		return err
	}
	if model == "" {
		return errors.New("a new VMI is not changed by virt-api")
	}
	return nil
}

// startController starts virt-controller. By default it ends when it could not renew its lease for 10 s, which happens on
// a machine that is busy with tests.
func (i *Installation) startController(ctx context.Context) error {
	kubeconfig, err := i.cluster.ServiceAccountKubeconfig(ctx, Namespace, ControllerAccount)
	if err != nil {
		return err
	}
	addresses, err := cluster.FreeAddresses(1)
	if err != nil {
		return err
	}
	i.Controller, err = i.cluster.StartProcess("virt-controller", "env", "SIDECAR_SHIM_IMAGE="+fmt.Sprintf(imageTag, "sidecar-shim"),
		i.programs.path("virt-controller"),
		"--kubeconfig="+kubeconfig, "--listen=127.0.0.1", "--port="+strings.TrimPrefix(addresses[0], "127.0.0.1:"), "-v=2",
		"--prom-cert-file="+i.key("virt-controller.crt"), "--prom-key-file="+i.key("virt-controller.key"),
		"--launcher-image="+fmt.Sprintf(imageTag, "virt-launcher"), "--exporter-image="+fmt.Sprintf(imageTag, "virt-exportserver"),
		"--leader-elect-lease-duration=60s", "--leader-elect-renew-deadline=50s")
	if err != nil {
		return err
	}
	return i.Controller.Await(ctx, "virt-controller to lead", startDeadline, func(ctx context.Context) error {
		lease, err := i.cluster.Client().CoordinationV1().Leases(Namespace).Get(ctx, "virt-controller", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return errors.New("nobody holds lease virt-controller")
		}
		return nil
	})
}

// Objects are a kind's objects among the definitions that were installed.
func (d *Definitions) Objects(kind string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, object := range d.last {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	return found
}
