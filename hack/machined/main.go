// SPDX-License-Identifier: Apache-2.0

// Command machined serves the system suite inside one of its machines: it runs commands there and moves
// files in and out, over HTTP.
//
//	POST /run?arg=ls&arg=-l     the body is standard input; answers {"output": "...", "code": 0}
//	PUT  /file?path=P&mode=0600 writes the body to P, whole or not at all, and makes P's folders
//	GET  /file?path=P           answers the content of P
//
// It is a test tool, not part of the product. It runs any command as root for anyone who reaches its port.
// QEMU forwards that port from the loopback interface of the host and from nowhere else.
//
// It also stands in for kube-proxy: it forwards connections to the service address of the API server to
// the API server itself. That address it reads from a file each time, as a machine that was saved gets another. Started as:
//
//	machined -listen :7000 -service 10.96.0.1:443 -apiserver-file /run/apiserver
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Result is what a command left. Output is standard output and standard error, as they came.
type Result struct {
	Output string `json:"output"`
	Code   int    `json:"code"`
}

func main() {
	listen := flag.String("listen", ":7000", "address to serve on")
	service := flag.String("service", "10.96.0.1:443", "service address of the API server, an address of this machine")
	apiserver := flag.String("apiserver-file", "/run/apiserver", "file with the address of the API server, host:port")
	flag.Parse()
	if err := serve(*listen, *service, *apiserver); err != nil {
		log.Fatal("machined: ", err)
	}
}

func serve(listen, service, apiserver string) error {
	front, err := net.Listen("tcp", service)
	if err != nil {
		return fmt.Errorf("listening in place of kube-proxy: %w", err)
	}
	go func() {
		log.Fatal("machined: accepting in place of kube-proxy: ", passOn(front, apiserver))
	}()
	return http.ListenAndServe(listen, handler())
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", run)
	mux.HandleFunc("PUT /file", put)
	mux.HandleFunc("GET /file", get)
	return mux
}

func run(w http.ResponseWriter, r *http.Request) {
	arguments := r.URL.Query()["arg"]
	if len(arguments) == 0 {
		http.Error(w, "no command: give it in parameters arg", http.StatusBadRequest)
		return
	}
	// The request's context: a caller that gives up takes its command along.
	command := exec.CommandContext(r.Context(), arguments[0], arguments[1:]...)
	command.Stdin = r.Body
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	result := Result{}
	var exit *exec.ExitError
	switch err := command.Run(); {
	case errors.As(err, &exit):
		result.Code = exit.ExitCode()
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	result.Output = output.String()
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(result); err != nil {
		log.Print("answering: ", err)
	}
}

func put(w http.ResponseWriter, r *http.Request) {
	mode, err := strconv.ParseUint(r.URL.Query().Get("mode"), 8, 32)
	if err != nil {
		http.Error(w, "mode: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := write(r.URL.Query().Get("path"), r.Body, os.FileMode(mode)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func write(path string, content io.Reader, mode os.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".machined-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no effect once it is renamed
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func get(w http.ResponseWriter, r *http.Request) {
	// Read whole: a file of /proc or /sys says that its size is 0.
	content, err := os.ReadFile(r.URL.Query().Get("path"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		_, _ = w.Write(content) // the caller is gone: nobody to tell
	}
}

// passOn takes connections and ties each to a connection of its own to the address in a file, until front is closed.
func passOn(front net.Listener, file string) error {
	for {
		near, err := front.Accept()
		if err != nil {
			return err
		}
		go tie(near, file)
	}
}

func tie(near net.Conn, file string) {
	defer near.Close()
	address, err := os.ReadFile(file)
	if err != nil {
		log.Print("passing on: ", err)
		return
	}
	far, err := net.Dial("tcp", strings.TrimSpace(string(address)))
	if err != nil {
		log.Print("passing on: ", err)
		return
	}
	defer far.Close()
	ended := make(chan error, 2)
	go func() { _, err := io.Copy(far, near); ended <- err }()
	go func() { _, err := io.Copy(near, far); ended <- err }()
	<-ended // either way: the API's clients never close one direction only
}
