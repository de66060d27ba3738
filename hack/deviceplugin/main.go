// SPDX-License-Identifier: Apache-2.0

// Command deviceplugin serves devices that are only names to a real kubelet, as the plugins of network cards and
// accelerators serve theirs. The system suite runs it in its machines.
//
// Each device is on one NUMA node. All are healthy, and containers that get them get nothing else: no file and no variable.
// A kubelet that starts removes the sockets of all plugins, and this one then registers again. It is a test tool,
// not part of the product. Started as:
//
//	deviceplugin -resource intel.com/vf -devices 0:2,1:4
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func main() {
	dir := flag.String("dir", filepath.Clean(pluginapi.DevicePluginPath), "the kubelet's folder for device plugins")
	resource := flag.String("resource", "", "name of the resource, for example intel.com/vf")
	list := flag.String("devices", "", "number of devices on each NUMA node: NODE:COUNT,NODE:COUNT")
	flag.Parse()
	devices, err := parse(*list)
	if err != nil || *resource == "" || flag.NArg() > 0 {
		log.Fatalf("deviceplugin: usage: deviceplugin -resource NAME -devices NODE:COUNT,...: %v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	p := &plugin{dir: *dir, resource: *resource, devices: devices}
	if err := p.run(ctx); err != nil {
		log.Fatal("deviceplugin: ", err)
	}
}

// parse reads the numbers of devices by NUMA node. The ids look like those of virtual functions on PCI buses.
func parse(list string) ([]*pluginapi.Device, error) {
	var devices []*pluginapi.Device
	for bus, part := range strings.Split(list, ",") {
		node, count, _ := strings.Cut(part, ":")
		id, err := strconv.ParseInt(node, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("NUMA node in %q: %w", part, err)
		}
		n, err := strconv.ParseUint(count, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("number of devices in %q: %w", part, err)
		}
		for i := range n {
			devices = append(devices, &pluginapi.Device{
				ID: fmt.Sprintf("0000:%02x:%02x.%d", bus+1, i/8, i%8), Health: pluginapi.Healthy,
				Topology: &pluginapi.TopologyInfo{Nodes: []*pluginapi.NUMANode{{ID: id}}},
			})
		}
	}
	return devices, nil
}

// plugin serves the devices of one resource.
type plugin struct {
	pluginapi.UnimplementedDevicePluginServer

	dir      string // of the sockets
	resource string
	devices  []*pluginapi.Device
}

// socket is the name of the plugin's socket, one for each resource.
func (p *plugin) socket() string { return strings.ReplaceAll(p.resource, "/", "-") + ".sock" }

func (p *plugin) path() string { return filepath.Join(p.dir, p.socket()) }

func (p *plugin) kubelet() string {
	return filepath.Join(p.dir, filepath.Base(pluginapi.KubeletSocket))
}

// run serves until ctx ends, and registers with the kubelet that is there and with each that makes its socket later.
func (p *plugin) run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	if err := watcher.Add(p.dir); err != nil {
		return err
	}
	stop := p.begin(ctx)
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watcher.Errors:
			return err
		case event := <-watcher.Events:
			if event.Name == p.kubelet() && event.Has(fsnotify.Create) {
				stop()
				stop = p.begin(ctx)
			}
		}
	}
}

// begin serves on a new socket and registers it. A kubelet that does not answer is tried again when it starts again.
func (p *plugin) begin(ctx context.Context) (stop func()) {
	stop, err := p.serve()
	if err == nil {
		err = p.register(ctx)
	}
	if err != nil {
		log.Printf("%s is not registered: %v", p.resource, err)
	}
	return stop
}

func (p *plugin) serve() (stop func(), err error) {
	if err := os.Remove(p.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return func() {}, err
	}
	listener, err := net.Listen("unix", p.path())
	if err != nil {
		return func() {}, err
	}
	server := grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(server, p)
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Print("serving: ", err)
		}
	}()
	return server.Stop, nil
}

// patience is for a kubelet that has made its socket and does not listen yet. On emulated CPUs that takes longer than on others.
const patience = 5 * time.Minute

// register tells the kubelet of the plugin.
func (p *plugin) register(ctx context.Context) error {
	if _, err := os.Stat(p.kubelet()); err != nil {
		return err
	}
	connection, err := grpc.NewClient("unix://"+p.kubelet(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err = pluginapi.NewRegistrationClient(connection).Register(ctx, &pluginapi.RegisterRequest{
		Version: pluginapi.Version, Endpoint: p.socket(), ResourceName: p.resource, Options: &pluginapi.DevicePluginOptions{},
	}, grpc.WaitForReady(true))
	if err == nil {
		log.Printf("%s is registered with %d devices", p.resource, len(p.devices))
	}
	return err
}

// GetDevicePluginOptions says that the plugin has no preference and wants no word before a container starts.
func (p *plugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return &pluginapi.DevicePluginOptions{}, nil
}

// ListAndWatch lists the devices once. They never change.
func (p *plugin) ListAndWatch(_ *pluginapi.Empty, stream grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	if err := stream.Send(&pluginapi.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// Allocate agrees to everything.
func (p *plugin) Allocate(_ context.Context, request *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	response := &pluginapi.AllocateResponse{}
	for range request.GetContainerRequests() {
		response.ContainerResponses = append(response.ContainerResponses, &pluginapi.ContainerAllocateResponse{})
	}
	return response, nil
}
