// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		list string
		want string // ids and NUMA nodes; "" for an error
	}{
		{"0:2,1:1", "[0000:01:00.0@0 0000:01:00.1@0 0000:02:00.0@1]"},
		{"1:9", "[0000:01:00.0@1 0000:01:00.1@1 0000:01:00.2@1 0000:01:00.3@1 0000:01:00.4@1 0000:01:00.5@1 0000:01:00.6@1 0000:01:00.7@1 0000:01:01.0@1]"},
		{"0:0", "[]"},
		{"", ""},
		{"0", ""},
		{"x:1", ""},
		{"0:-1", ""},
	} {
		devices, err := parse(tc.list)
		got := []string{}
		for _, device := range devices {
			got = append(got, fmt.Sprintf("%s@%d", device.ID, device.Topology.Nodes[0].ID))
		}
		if (err != nil) != (tc.want == "") || err == nil && fmt.Sprint(got) != tc.want {
			t.Errorf("%q: %v, %v; want %s", tc.list, got, err, tc.want)
		}
	}
}

// kubelet takes registrations.
type kubelet struct {
	pluginapi.UnimplementedRegistrationServer
	registered chan *pluginapi.RegisterRequest
}

func (k *kubelet) Register(_ context.Context, request *pluginapi.RegisterRequest) (*pluginapi.Empty, error) {
	k.registered <- request
	return &pluginapi.Empty{}, nil
}

// startKubelet does what a kubelet does when it starts: it removes all sockets and makes its own.
func startKubelet(t *testing.T, p *plugin) (k *kubelet, stop func()) {
	t.Helper()
	for _, path := range []string{p.path(), p.kubelet()} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("unix", p.kubelet())
	if err != nil {
		t.Fatal(err)
	}
	k = &kubelet{registered: make(chan *pluginapi.RegisterRequest, 1)}
	server := grpc.NewServer()
	pluginapi.RegisterRegistrationServer(server, k)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return k, func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// asks is what a kubelet does once a plugin has registered.
func (k *kubelet) asks(ctx context.Context, t *testing.T, p *plugin) {
	t.Helper()
	select {
	case request := <-k.registered:
		if request.ResourceName != p.resource || request.Endpoint != p.socket() || request.Version != pluginapi.Version {
			t.Errorf("registered as %v", request)
		}
	case <-ctx.Done():
		t.Fatal("the plugin has not registered")
	}
	connection, err := grpc.NewClient("unix://"+p.path(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	client := pluginapi.NewDevicePluginClient(connection)
	stream, err := client.ListAndWatch(ctx, &pluginapi.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := stream.Recv()
	if err != nil || len(list.Devices) != len(p.devices) || list.Devices[2].Topology.Nodes[0].ID != 1 {
		t.Errorf("listed %v, %v; want %v", list, err, p.devices)
	}
	answer, err := client.Allocate(ctx, &pluginapi.AllocateRequest{ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: []string{"a"}}, {}}})
	if err != nil || len(answer.ContainerResponses) != 2 {
		t.Errorf("allocated %v, %v", answer, err)
	}
}

// TestKubelets has a plugin that finds a kubelet, and then another one that starts.
func TestKubelets(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	devices, err := parse("0:2,1:4")
	if err != nil {
		t.Fatal(err)
	}
	p := &plugin{dir: t.TempDir(), resource: "intel.com/vf", devices: devices}
	first, stop := startKubelet(t, p)
	inner, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.run(inner) }()
	first.asks(ctx, t, p)
	stop()
	second, stop := startKubelet(t, p)
	second.asks(ctx, t, p)
	stop()
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
