// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	certutil "k8s.io/client-go/util/cert"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/utils/clock"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/bounds"
)

// fakeKubelet listens where a kubelet does: TLS with the certificate that a kubelet makes for itself, and the
// podresources socket.
type fakeKubelet struct {
	podresources.UnimplementedPodResourcesListerServer
	dir     string
	server  *httptest.Server
	grpc    *grpc.Server
	mu      sync.Mutex
	answer  string
	status  int
	cpus    []int64
	devices []*podresources.ContainerDevices
	tokens  []string
	asked   int
	cert    []byte
	refuses error
}

const staticConfigz = `{"kubeletconfig":{"cpuManagerPolicy":"static","cpuManagerPolicyOptions":{"full-pcpus-only":"true"},"topologyManagerPolicy":"restricted","reservedSystemCPUs":"0","unheardOf":1}}`

func newFakeKubelet(t *testing.T) *fakeKubelet {
	t.Helper()
	k := &fakeKubelet{dir: t.TempDir(), answer: staticConfigz, status: http.StatusOK, cpus: []int64{1, 2, 3}}
	cert, key, err := certutil.GenerateSelfSignedCertKey("n1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	k.cert = cert
	k.server = httptest.NewUnstartedServer(http.HandlerFunc(k.serve))
	k.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	k.server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	k.server.StartTLS()
	t.Cleanup(k.server.Close)
	if err := os.MkdirAll(filepath.Join(k.dir, podResourcesDir), 0o755); err != nil {
		t.Fatal(err)
	}
	return k
}

// keepCertificate puts the certificate where a kubelet keeps its own.
func (k *fakeKubelet) keepCertificate(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(k.dir, "pki"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "pki", "kubelet.crt"), k.cert, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (k *fakeKubelet) serve(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tokens = append(k.tokens, r.Header.Get("Authorization"))
	k.asked++
	if k.status == http.StatusFound {
		w.Header().Set("Location", "https://elsewhere.invalid/configz")
	}
	w.WriteHeader(k.status)
	_, _ = w.Write([]byte(k.answer))
}

// start serves pod resources, as a kubelet does that has started.
func (k *fakeKubelet) start(t *testing.T) {
	t.Helper()
	socket := filepath.Join(k.dir, podResourcesDir, podResourcesSocket)
	_ = os.Remove(socket)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, k)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	k.grpc = server
}

func (k *fakeKubelet) GetAllocatableResources(context.Context, *podresources.AllocatableResourcesRequest) (*podresources.AllocatableResourcesResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return &podresources.AllocatableResourcesResponse{CpuIds: k.cpus, Devices: k.devices}, k.refuses
}

func (k *fakeKubelet) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

type withToken struct{ next http.RoundTripper }

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer secret")
	return w.next.RoundTrip(r)
}

func (k *fakeKubelet) options() Options {
	return Options{
		RootDir: k.dir, ConfigFile: filepath.Join(k.dir, "config.yaml"), Reread: time.Hour, Clock: clock.RealClock{},
		Configz: ConfigzOptions{
			Address:      func() (string, []string, error) { return k.server.Listener.Addr().String(), []string{"n1"}, nil },
			Trust:        Trust{RootDir: k.dir, Authorities: x509.NewCertPool()},
			Authenticate: func(next http.RoundTripper) (http.RoundTripper, error) { return withToken{next}, nil },
		},
	}
}

func TestAsksTheKubelet(t *testing.T) {
	k := newFakeKubelet(t)
	k.keepCertificate(t)
	k.start(t)
	w := NewWatcher(k.options())
	if w.State().Asked() {
		t.Error("asked before anything was")
	}
	if !w.RefreshAnswers(t.Context()) {
		t.Fatalf("no answer: %+v", w.State())
	}
	s := w.State()
	if c, origin := s.Config(); origin != FromKubelet || c.CPUManagerPolicy != "static" || c.TopologyManagerScope != "container" || c.ReservedCPUs != cpuset.Of(0) {
		t.Errorf("configuration by %q: %+v", origin, c)
	}
	if s.Allocatable.Value != cpuset.Of(1, 2, 3) {
		t.Errorf("allocatable are %s", s.Allocatable.Value)
	}
	if k.tokens[0] != "Bearer secret" {
		t.Errorf("asked with %q", k.tokens)
	}
}

// Whoever cannot prove to be the kubelet gets nothing: not even the request, with the token in it.
func TestTokenGoesToTheKubeletOnly(t *testing.T) {
	other, _, err := certutil.GenerateSelfSignedCertKey("n1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*fakeKubelet, *Options)
		proves bool
	}{
		"a certificate of nobody": {func(*fakeKubelet, *Options) {}, false},
		"the kubelet's own":       {func(k *fakeKubelet, _ *Options) { k.keepCertificate(t) }, true},
		"another that lies there": {func(k *fakeKubelet, _ *Options) { k.cert = other; k.keepCertificate(t) }, false},
		"from a known authority":  {func(k *fakeKubelet, o *Options) { o.Configz.Trust.Authorities.AppendCertsFromPEM(k.cert) }, true},
		"from it, but for another node": {func(k *fakeKubelet, o *Options) {
			o.Configz.Trust.Authorities.AppendCertsFromPEM(k.cert)
			k.names(o, "n2")
		}, false},
		"from it, by its second name": {func(k *fakeKubelet, o *Options) {
			o.Configz.Trust.Authorities.AppendCertsFromPEM(k.cert)
			k.names(o, "n2", "n1")
		}, true},
		"anything, where that was asked": {func(_ *fakeKubelet, o *Options) { o.Configz.Trust.Insecure = true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFakeKubelet(t)
			o := k.options()
			tc.change(k, &o)
			w := NewWatcher(o)
			w.RefreshAnswers(t.Context())
			if got := w.State().Configz.Err == nil; got != tc.proves {
				t.Errorf("answered: %t, want %t: %v", got, tc.proves, w.State().Configz.Err)
			}
			if !tc.proves && (len(k.tokens) > 0 || !strings.Contains(w.State().Configz.Err.Error(), "kubelet.caFile")) {
				t.Errorf("%d requests came through; error %v", len(k.tokens), w.State().Configz.Err)
			}
		})
	}
}

func (k *fakeKubelet) names(o *Options, names ...string) {
	o.Configz.Address = func() (string, []string, error) { return k.server.Listener.Addr().String(), names, nil }
}

func TestCertificateOfTheConfigurationFile(t *testing.T) {
	k := newFakeKubelet(t)
	file := filepath.Join(t.TempDir(), "serving.pem")
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	if err := os.WriteFile(file, append(key, k.cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(k.dir, "config.yaml"), configHeader+"tlsCertFile: "+file+"\n")
	w := NewWatcher(k.options())
	w.Refresh(t.Context())
	w.RefreshAnswers(t.Context())
	if err := w.State().Configz.Err; err != nil {
		t.Error(err)
	}
}

func TestEachAnswerThatIsNoneSaysWhatToDo(t *testing.T) {
	k := newFakeKubelet(t)
	k.keepCertificate(t)
	for name, tc := range map[string]struct {
		status int
		answer string
		want   string
	}{
		"not authenticated": {http.StatusUnauthorized, "", "authentication.webhook.enabled"},
		"an older kubelet":  {http.StatusForbidden, "", "before 1.36 with feature gate KubeletFineGrainedAuthz off"},
		"switched off":      {http.StatusNotFound, "", "enableDebuggingHandlers"},
		"busy":              {http.StatusServiceUnavailable, "", "503"},
		"sent elsewhere":    {http.StatusFound, "", "302"},
		"no JSON":           {http.StatusOK, "<html>", "reading the answer"},
		"somebody else":     {http.StatusOK, "{}", "kubelet's port"},
		"nonsense in it":    {http.StatusOK, `{"kubeletconfig":{"reservedSystemCPUs":"x"}}`, "reservedSystemCPUs"},
	} {
		k.set(func() { k.status, k.answer = tc.status, tc.answer })
		w := NewWatcher(k.options())
		w.RefreshAnswers(t.Context())
		if err := w.State().Configz.Err; err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
	}
	k.server.Close()
	w := NewWatcher(k.options())
	w.RefreshAnswers(t.Context())
	first := w.State().Configz.Err
	w.RefreshAnswers(t.Context())
	if again := w.State().Configz.Err; first == nil || first.Error() != again.Error() {
		t.Errorf("a kubelet that is down: %v, then %v; want the same words", first, again)
	}
}

// A kubelet that comes up, with other settings, is asked again without anybody's doing.
func TestAsksAgainWhenAKubeletStarts(t *testing.T) {
	k := newFakeKubelet(t)
	k.keepCertificate(t)
	k.set(func() { k.status = http.StatusServiceUnavailable })
	w := NewWatcher(k.options())
	changed := w.Subscribe()
	start(t, w)
	await(t, w, changed, "that nobody answers", func(s *State) bool { return s.Configz.Err != nil && s.Allocatable.Err != nil })
	k.set(func() { k.status = http.StatusOK })
	k.start(t)
	await(t, w, changed, "the answers", func(s *State) bool {
		return s.Configz.Err == nil && s.Allocatable.Value == cpuset.Of(1, 2, 3) && !s.Started.IsZero()
	})
	k.set(func() {
		k.answer = strings.ReplaceAll(staticConfigz, "restricted", "single-numa-node")
		k.cpus = []int64{2, 3}
	})
	k.grpc.Stop()
	k.start(t)
	await(t, w, changed, "the answers of the next kubelet", func(s *State) bool {
		return s.Configz.Value.TopologyManagerPolicy == "single-numa-node" && s.Allocatable.Value == cpuset.Of(2, 3)
	})
	k.grpc.Stop()
	k.set(func() { k.status = http.StatusServiceUnavailable })
	w.Ask()
	await(t, w, changed, "that it is gone, with its last word kept", func(s *State) bool {
		return s.Configz.Err != nil && s.Allocatable.Err != nil && s.Allocatable.Value == cpuset.Of(2, 3)
	})
}

func TestNothingIsSaidBeforeTheAgentKnowsWhomToAsk(t *testing.T) {
	k := newFakeKubelet(t)
	o := k.options()
	o.Configz.Address = func() (string, []string, error) { return "", nil, ErrNotYet }
	w := NewWatcher(o)
	if w.RefreshAnswers(t.Context()) || w.State().Asked() {
		t.Errorf("state %+v", w.State())
	}
}

func TestCPUsThatCannotBeAreRefused(t *testing.T) {
	k := newFakeKubelet(t)
	k.start(t)
	for _, ids := range [][]int64{{-1}, {1 << 40}} {
		k.set(func() { k.cpus = ids })
		answer, err := askAllocatable(t.Context(), k.dir)
		if err != nil {
			t.Fatal(err)
		}
		may, err := decodeAllocatable(answer)
		if err == nil {
			t.Errorf("%v gives %s", ids, may.cpus)
		}
	}
	k.set(func() { k.refuses = errors.New("too many requests") })
	if _, err := askAllocatable(t.Context(), k.dir); err == nil || !strings.Contains(err.Error(), "too many requests") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseConfigz(f *testing.F) {
	f.Add([]byte(staticConfigz))
	f.Add([]byte(`{"kubeletconfig":{"systemReserved":{"cpu":"500m"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Config
		var err error
		bounds.Within(t, bounds.Parser, string(data), func() { c, err = parseConfigz(data) })
		if err == nil && (c.CPUManagerPolicy == "" || c.TopologyManagerScope == "" || c.ReservedCount < 0) {
			t.Errorf("%q gives %+v", data, c)
		}
	})
}
