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
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	logsapi "k8s.io/component-base/logs/api/v1"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/apis/corepin/v1alpha1"
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
	published := false
	s := newServer("", func() bool { return published })
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
	published = true
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
	i := newInformers(c, "n1", client, reports)
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
