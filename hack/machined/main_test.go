// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// call sends one request and gives status and body of the answer.
func call(t *testing.T, method, target, body string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler().ServeHTTP(recorder, httptest.NewRequest(method, target, strings.NewReader(body)))
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		name, query, body string
		status            int
		answer            string // part of it
	}{
		{"output and input", "arg=cat", "hello", http.StatusOK, `{"output":"hello","code":0}`},
		{"both streams and the code", "arg=sh&arg=-c&arg=" + url.QueryEscape("echo out; echo err >&2; exit 3"), "", http.StatusOK, `{"output":"out\nerr\n","code":3}`},
		{"no such program", "arg=no-such-program", "", http.StatusInternalServerError, "not found"},
		{"nothing", "", "", http.StatusBadRequest, "no command"},
	} {
		if status, answer := call(t, http.MethodPost, "/run?"+tc.query, tc.body); status != tc.status || !strings.Contains(answer, tc.answer) {
			t.Errorf("%s: %d %q, want %d with %q", tc.name, status, answer, tc.status, tc.answer)
		}
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "file")
	target := "/file?path=" + url.QueryEscape(path)
	if status, _ := call(t, http.MethodGet, target, ""); status != http.StatusNotFound {
		t.Errorf("a file that is not there: %d, want 404", status)
	}
	if status, answer := call(t, http.MethodPut, target+"&mode=0600", "content"); status != http.StatusOK {
		t.Fatalf("writing: %d %s", status, answer)
	}
	if status, answer := call(t, http.MethodGet, target, ""); status != http.StatusOK || answer != "content" {
		t.Errorf("reading: %d %q", status, answer)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (err %v), want 0600", info.Mode(), err)
	}
	if status, _ := call(t, http.MethodPut, target+"&mode=rw", "other"); status != http.StatusBadRequest {
		t.Errorf("a mode that is none: %d, want 400", status)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v (err %v)", entries, err)
	}
}

func TestPassesOn(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the API server") }))
	defer server.Close()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "apiserver")
	if err := os.WriteFile(file, []byte(server.Listener.Addr().String()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- passOn(front, file) }()
	response, err := (&http.Client{Timeout: time.Minute}).Get("http://" + front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || string(answer) != "the API server" {
		t.Errorf("%q (err %v)", answer, err)
	}
	front.Close()
	if err := <-ended; err == nil {
		t.Error("passing on ended without a reason")
	}
}
