// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// inside is what a scheduler says of itself.
type inside struct {
	heap       float64 // MB that are allocated
	goroutines int
	pending    int // pods that it holds in its queue, of all kinds
}

var securePort = regexp.MustCompile(`--secure-port=(\d+)`)

// clientOf reaches the port of a scheduler with the admin's certificate.
func (p pid) clientOf(admin *rest.Config) (kubernetes.Interface, error) {
	arguments, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(p)), "cmdline"))
	if err != nil {
		return nil, fmt.Errorf("reading the scheduler's arguments: %w", err)
	}
	port := securePort.FindSubmatch(arguments)
	if port == nil {
		return nil, errors.New("the scheduler has no --secure-port")
	}
	config := rest.CopyConfig(admin)
	config.Host = "https://127.0.0.1:" + string(port[1])
	config.Insecure = true // its certificate is of its own making
	config.CAData = nil
	config.CAFile = ""
	return kubernetes.NewForConfig(config)
}

func scrape(ctx context.Context, client kubernetes.Interface) (inside, error) {
	text, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return inside{}, fmt.Errorf("scraping the scheduler: %w", err)
	}
	return readInside(string(text))
}

func readInside(text string) (inside, error) {
	var in inside
	found := 0
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			continue // a comment
		}
		switch {
		case name == "go_memstats_heap_alloc_bytes":
			in.heap = value / (1 << 20)
			found++
		case name == "go_goroutines":
			in.goroutines = int(value)
			found++
		case strings.HasPrefix(name, "scheduler_pending_pods{"):
			in.pending += int(value)
		}
	}
	if found != 2 {
		return in, errors.New("the scheduler's metrics do not have its heap and its goroutines")
	}
	return in, nil
}
