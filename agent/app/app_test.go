// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/metrics/legacyregistry"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/agent/kubelet"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
	"corepin.dev/corepin/test/harness/metrictable"
)

func TestCommandRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("kind: Pod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no node":           {nil, "--node-name is required"},
		"an argument":       {[]string{"--node-name=n1", "now"}, "unknown command"},
		"a bad file":        {[]string{"--node-name=n1", "--config=" + bad}, bad},
		"no file":           {[]string{"--node-name=n1", "--config=" + bad + "x"}, bad + "x"},
		"no kubeconfig":     {[]string{"--node-name=n1", "--kubeconfig=" + bad + "x"}, "reading kubeconfig " + bad + "x"},
		"not in a pod":      {[]string{"--node-name=n1"}, "outside of a pod, give --kubeconfig"},
		"an unknown format": {[]string{"--node-name=n1", "--logging-format=rhyme"}, "setting up logging"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := logsapi.ResetForTest(nil); err != nil { // applied once in a process
				t.Fatal(err)
			}
			cmd := NewCommand()
			cmd.SetArgs(tc.args)
			cmd.SetOut(io.Discard)
			cmd.SetErr(io.Discard)
			if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestHelpHasEveryFlag(t *testing.T) {
	cmd := NewCommand()
	var help bytes.Buffer
	cmd.SetOut(&help)
	cmd.SetArgs([]string{"--help"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--config", "--kubeconfig", "--node-name", "--v ", "--version"} {
		if !strings.Contains(help.String(), flag) {
			t.Errorf("%s is not in the help:\n%s", flag, help.String())
		}
	}
}

func TestEndpoints(t *testing.T) {
	notReady := errors.New("the report of this node is not published yet")
	s := newServer("", func() error { return notReady })
	get := func(path string) (int, string) {
		r := httptest.NewRecorder()
		s.handler.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return r.Code, r.Body.String()
	}
	if code, body := get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "not published") {
		t.Errorf("/readyz before the report: %d %q", code, body)
	}
	notReady = nil
	if code, _ := get("/readyz"); code != http.StatusOK {
		t.Errorf("/readyz after the report: %d", code)
	}
	if code, body := get("/metrics"); code != http.StatusOK || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics: %d %.100q", code, body)
	}
}

func TestServerStops(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := newServer(taken.Addr().String(), nil).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serving.address") {
		t.Errorf("on an address in use: %v, want an error that names the setting", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- newServer("127.0.0.1:0", nil).Run(ctx) }()
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestInformersSeeOnlyTheirOwn(t *testing.T) {
	c, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	gates := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kubevirt", Name: "kubevirt-config"}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	client := fake.NewClientset(node, gates)
	scheme := runtime.NewScheme()
	reports := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(scheme, map[schema.GroupVersionResource]string{v1alpha1.Resource: "NodeCPUList"})
	i := newInformers(c, "n1", client, client.CoreV1(), reports)
	if _, err := i.Node(); !apierrors.IsNotFound(err) {
		t.Errorf("before anything is known: %v, want NotFound", err)
	}
	if _, known := i.FeatureGates(); known {
		t.Error("the feature gates are known before anything is")
	}
	changed := make(chan struct{}, 10)
	if err := onChange(i.configMap, func() { changed <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	for _, informer := range i.all() {
		go informer.RunWithContext(t.Context())
	}
	for name, informer := range i.all() {
		if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
			t.Fatalf("%s: never synced", name)
		}
	}
	if got, err := i.Node(); err != nil || got.Name != "n1" {
		t.Errorf("node %v, error %v", got, err)
	}
	if got, known := i.FeatureGates(); !known || got == nil {
		t.Errorf("feature gates %v, known %t", got, known)
	}
	<-changed
	if err := client.CoreV1().ConfigMaps("kubevirt").Delete(t.Context(), gates.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	<-changed
	if got, known := i.FeatureGates(); !known || got != nil {
		t.Errorf("after the removal: feature gates %v, known %t", got, known)
	}
	for _, want := range []string{"spec.nodeName=n1", "metadata.name=n1", "metadata.name=kubevirt-config"} {
		found := false
		for _, action := range client.Actions() {
			if list, ok := action.(interface{ GetListOptions() metav1.ListOptions }); ok {
				found = found || list.GetListOptions().FieldSelector == want
			}
		}
		if !found {
			t.Errorf("no list with field selector %s in %v", want, client.Actions())
		}
	}
}

// Users read the table. Every metric that it has is there from the start with every label value, and no other is.
func TestMetricsAreThoseOfTheTable(t *testing.T) {
	table, err := metrictable.Read("../../manifests/monitoring/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newAgent(t.Context(), defaults(t), "n1", &rest.Config{Host: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range table.Differences("corepin-agent", families) {
		t.Error(difference)
	}
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "corepin_") && !strings.Contains(family.GetHelp(), "[ALPHA]") {
			t.Errorf("%s has no stability level", family.GetName())
		}
	}
}

func defaults(t *testing.T) *config.AgentConfiguration {
	t.Helper()
	c, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKubeletAddress(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	get := func() (*corev1.Node, error) { return node, nil }
	if _, _, err := kubeletAddress("", "n1", get); err == nil || !strings.Contains(err.Error(), "kubelet.address") {
		t.Errorf("without an address: %v", err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "fd00::1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}
	if address, names, err := kubeletAddress("", "n1", get); err != nil || address != "[fd00::1]:10250" || !slices.Equal(names, []string{"n1", "fd00::1"}) {
		t.Errorf("got %s for %q, error %v", address, names, err)
	}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = 10350
	if address, _, err := kubeletAddress("", "n1", get); err != nil || address != "[fd00::1]:10350" {
		t.Errorf("with another port: %s, error %v", address, err)
	}
	if address, names, err := kubeletAddress("127.0.0.1:1", "n1", nil); err != nil || address != "127.0.0.1:1" || !slices.Equal(names, []string{"n1", "127.0.0.1"}) {
		t.Errorf("configured: %s for %q, error %v", address, names, err)
	}
	gone := func() (*corev1.Node, error) { return nil, apierrors.NewNotFound(corev1.Resource("nodes"), "n1") }
	if _, _, err := kubeletAddress("", "n1", gone); !errors.Is(err, kubelet.ErrNotYet) {
		t.Errorf("without a Node: %v", err)
	}
}

// The kubelet gets the token and none of the other credentials.
func TestConfigzOptions(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(bad, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		file string
		rc   rest.Config
		want string
	}{
		"no file":          {bad + "x", rest.Config{}, "kubelet.caFile"},
		"no certificate":   {bad, rest.Config{}, "no certificate in " + bad},
		"nothing is given": {"", rest.Config{}, ""},
		"the API server's": {"", rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: bad + "y"}}, bad + "y"},
	} {
		c := defaults(t)
		c.Kubelet.CAFile = tc.file
		if _, err := configzOptions(c, "n1", &tc.rc, nil); (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
	rc := rest.Config{BearerToken: "token", Username: "u", Password: "p", Impersonate: rest.ImpersonationConfig{UserName: "x"}}
	o, err := configzOptions(defaults(t), "n1", &rc, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sent http.Header
	transport, err := o.Authenticate(roundTripper(func(r *http.Request) (*http.Response, error) {
		sent = r.Header
		return nil, errors.New("sent")
	}))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://n1/configz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := transport.RoundTrip(request); err == nil {
		_ = response.Body.Close()
	}
	if sent.Get("Authorization") != "Bearer token" || sent.Get("Impersonate-User") != "" {
		t.Errorf("sent %v", sent)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
