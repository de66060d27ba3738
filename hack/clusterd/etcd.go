// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcdStartTimeout bounds how long a member without peers may take to elect itself.
const etcdStartTimeout = 30 * time.Second

// runEtcd serves a one-member etcd until SIGTERM or SIGINT.
func runEtcd() int {
	config, err := etcdConfig(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serveEtcd(ctx, config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// etcdConfig reads the flags. They are fewer than etcd's own: one member, TLS with client
// certificates always, so that no other user of the machine can read the cluster's secrets.
//
// fsync is off: the data need only outlive etcd's process, not the machine, and a start is several
// times faster without.
func etcdConfig(args []string) (*embed.Config, error) {
	config := embed.NewConfig()
	flags := pflag.NewFlagSet("etcd", pflag.ContinueOnError)
	flags.StringVar(&config.Dir, "data-dir", "", "folder of the data; made if missing")
	client := flags.String("listen-client-url", "", "https URL to serve clients on")
	peer := flags.String("listen-peer-url", "", "http URL for peers, which a single member never has")
	flags.StringVar(&config.ClientTLSInfo.CertFile, "cert-file", "", "serving certificate")
	flags.StringVar(&config.ClientTLSInfo.KeyFile, "key-file", "", "key of the serving certificate")
	flags.StringVar(&config.ClientTLSInfo.TrustedCAFile, "trusted-ca-file", "", "CA that client certificates must be signed by")
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("reading etcd's flags: %w", err)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("reading etcd's flags: unexpected argument %q", flags.Arg(0))
	}
	for _, name := range []string{"data-dir", "listen-client-url", "listen-peer-url", "cert-file", "key-file", "trusted-ca-file"} {
		if flags.Lookup(name).Value.String() == "" {
			return nil, fmt.Errorf("reading etcd's flags: --%s must be given", name)
		}
	}
	clientURL, err := url.Parse(*client)
	if err != nil {
		return nil, fmt.Errorf("reading --listen-client-url: %w", err)
	}
	peerURL, err := url.Parse(*peer)
	if err != nil {
		return nil, fmt.Errorf("reading --listen-peer-url: %w", err)
	}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.ClientTLSInfo.ClientCertAuth = true
	config.UnsafeNoFsync = true
	config.LogLevel = "warn"
	config.LogOutputs = []string{"stderr"}
	return config, nil
}

func serveEtcd(ctx context.Context, config *embed.Config) error {
	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	defer server.Close()
	timeout := time.NewTimer(etcdStartTimeout)
	defer timeout.Stop()
	select {
	case <-server.Server.ReadyNotify():
	case <-ctx.Done():
		return nil
	case <-timeout.C:
		return fmt.Errorf("starting etcd: not ready within %s", etcdStartTimeout)
	case err := <-server.Err():
		return fmt.Errorf("starting etcd: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-server.Server.StopNotify():
		return errors.New("serving etcd: it stopped by itself; its log is above")
	case err := <-server.Err():
		return fmt.Errorf("serving etcd: %w", err)
	}
}
