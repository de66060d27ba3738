// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdName is the program that scheduler_perf looks for on the PATH.
const etcdName = "etcd"

// provideEtcd makes this program etcd for its children: a link by that name in a folder at the front of the PATH.
func provideEtcd(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if err := os.Symlink(self, filepath.Join(dir, etcdName)); err != nil {
		return fmt.Errorf("making a link to this program: %w", err)
	}
	return os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// runEtcd serves a member on the unix socket that scheduler_perf names, until it is told to end. Of etcd's flags it
// reads those that scheduler_perf gives (RunCustomEtcd in test/integration/framework/etcd.go, v1.36.3).
func runEtcd(args []string) int {
	if err := serveEtcd(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveEtcd(args []string) error {
	config := embed.NewConfig()
	flags := flag.NewFlagSet(etcdName, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	client := flags.String("listen-client-urls", "", "")
	for _, unused := range []string{"advertise-client-urls", "listen-peer-urls"} {
		flags.String(unused, "", "")
	}
	flags.StringVar(&config.Dir, "data-dir", "", "")
	flags.StringVar(&config.LogLevel, "log-level", "warn", "")
	flags.Int64Var(&config.QuotaBackendBytes, "quota-backend-bytes", 0, "")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("reading etcd's flags: %w", err)
	}
	clientURL, err := url.Parse(*client)
	if err != nil {
		return fmt.Errorf("reading --listen-client-urls: %w", err)
	}
	nobody := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{nobody}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{nobody}, []url.URL{nobody}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = true // the data need not outlive the machine
	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	defer server.Close()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	parent, look := os.Getppid(), time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-end:
			return nil
		case err := <-server.Err():
			return fmt.Errorf("serving etcd: %w", err)
		case <-look.C:
			if os.Getppid() != parent {
				return nil // who started it was killed
			}
		}
	}
}
