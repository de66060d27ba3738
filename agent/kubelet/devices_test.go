// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"corepin.dev/corepin/pkg/cpuset"
	"corepin.dev/corepin/test/harness/bounds"
)

// goodDevices is a file as a kubelet writes it: a pod whose init container has ended and whose VF the compute container has
// taken over, and a device of two NUMA nodes.
const goodDevices = `{"Data":{"PodDeviceEntries":[
 {"PodUID":"u2","ContainerName":"compute","ResourceName":"intel.com/vf","DeviceIDs":{"1":["0000:81:02.1","0000:81:02.0"]},"AllocResp":"CgRhYmNk"},
 {"PodUID":"u1","ContainerName":"compute","ResourceName":"nvidia.com/nvl","DeviceIDs":{"0":["g"],"1":["g","h"]},"AllocResp":""},
 {"PodUID":"u1","ContainerName":"compute","ResourceName":"devices.kubevirt.io/kvm","DeviceIDs":{"-1":["kvm7"]},"AllocResp":null},
 {"PodUID":"u2","ContainerName":"setup","ResourceName":"intel.com/vf","DeviceIDs":{"1":["0000:81:02.0"]},"AllocResp":"CgA="}],
 "RegisteredDevices":{"intel.com/vf":["0000:81:02.1","0000:81:02.0","0000:18:02.0"],"nvidia.com/nvl":["h","g"],"gone.com/x":[]}},"Checksum":1742344224}`

func TestParseDevices(t *testing.T) {
	want := Devices{
		Registered: map[string]int{"intel.com/vf": 3, "nvidia.com/nvl": 2, "gone.com/x": 0},
		Held: []HeldDevices{
			{Pod: "u1", Container: "compute", Resource: "devices.kubevirt.io/kvm", Devices: []Device{{"kvm7", ""}}},
			{Pod: "u1", Container: "compute", Resource: "nvidia.com/nvl", Devices: []Device{{"g", "0-1"}, {"h", "1"}}},
			{Pod: "u2", Container: "compute", Resource: "intel.com/vf", Devices: []Device{{"0000:81:02.0", "1"}, {"0000:81:02.1", "1"}}},
			{Pod: "u2", Container: "setup", Resource: "intel.com/vf", Devices: []Device{{"0000:81:02.0", "1"}}},
		},
	}
	for name, text := range map[string]string{
		"of today":       goodDevices,
		"with a boot id": strings.Replace(goodDevices, `"Checksum"`, `"BootID":"8f0c","Checksum"`, 1),
	} {
		got, err := ParseDevices([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, error %v", name, got, err)
		}
	}
	// As written by the checkpoint package of v1.38.0-beta.0.
	const beta = `{"Data":{"PodDeviceEntries":[{"PodUID":"p","ContainerName":"a","ResourceName":"example.com/vf","DeviceIDs":{"-1":["d1"],"1":["d0"]},"AllocResp":"eA=="}],"RegisteredDevices":{"example.com/vf":["d0","d1","d2"]}},"Checksum":953749351}`
	want = Devices{Registered: map[string]int{"example.com/vf": 3}, Held: []HeldDevices{
		{Pod: "p", Container: "a", Resource: "example.com/vf", Devices: []Device{{"d0", "1"}, {"d1", ""}}}}}
	got, err := ParseDevices([]byte(beta))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("1.38: got %+v, error %v", got, err)
	}
	got, err = ParseDevices([]byte(`{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":1}`))
	if err != nil || len(got.Held) != 0 || len(got.Registered) != 0 {
		t.Errorf("of a kubelet without plugins: %+v, error %v", got, err)
	}
}

func TestParseDevicesRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ change, want string }{
		"half a file":            {"half", "half written"},
		"nothing":                {"", "empty"},
		"more behind it":         {goodDevices + "{}", "goes on after its end"},
		"a field of tomorrow":    {strings.Replace(goodDevices, `"AllocResp":null`, `"Shared":true`, 1), "update the agent"},
		"ids that are no list":   {strings.Replace(goodDevices, `{"-1":["kvm7"]}`, `["kvm7"]`, 1), "damaged"},
		"a NUMA node of words":   {strings.Replace(goodDevices, `"-1"`, `"left"`, 1), "no number"},
		"a NUMA node below none": {strings.Replace(goodDevices, `"-1"`, `"-2"`, 1), "no machine has that"},
		"a NUMA node of none":    {strings.Replace(goodDevices, `"-1"`, `"99999999"`, 1), "no machine has that"},
		"no pod":                 {strings.Replace(goodDevices, `"u1"`, `""`, 1), "has no pod"},
		"an entry twice":         {strings.Replace(goodDevices, `"setup"`, `"compute"`, 1), "listed twice"},
	} {
		text := tc.change
		if name == "half a file" {
			text = goodDevices[:len(goodDevices)/2]
		}
		got, err := ParseDevices([]byte(text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %+v, error %v, want %q", name, got, err, tc.want)
		}
	}
}

func FuzzParseDevices(f *testing.F) {
	f.Add(goodDevices)
	f.Add(`{"Data":{"PodDeviceEntries":[{"PodUID":"u","ContainerName":"c","ResourceName":"r","DeviceIDs":{"00":["a"],"0":["a"]}}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var got Devices
		var err error
		bounds.Within(t, bounds.Parser, text, func() { got, err = ParseDevices([]byte(text)) })
		if err != nil {
			return
		}
		for _, held := range got.Held {
			if held.Pod == "" || held.Container == "" || held.Resource == "" {
				t.Errorf("an entry without a key: %+v", held)
			}
			for i := 1; i < len(held.Devices); i++ {
				if held.Devices[i-1].ID >= held.Devices[i].ID {
					t.Errorf("devices are not in order: %+v", held)
				}
			}
		}
	})
}

func listed(resource, id string, nodes ...int64) *podresources.ContainerDevices {
	d := &podresources.ContainerDevices{ResourceName: resource, DeviceIds: []string{id}}
	for _, node := range nodes {
		d.Topology = &podresources.TopologyInfo{Nodes: append(d.GetTopology().GetNodes(), &podresources.NUMANode{ID: node})}
	}
	return d
}

// encode is an answer as the kubelet sends it.
func encode(t testing.TB, cpus []int64, devices ...*podresources.ContainerDevices) []byte {
	t.Helper()
	answer, err := proto.Marshal(&podresources.AllocatableResourcesResponse{
		CpuIds: cpus, Devices: devices, Memory: []*podresources.ContainerMemory{{MemoryType: "memory", Size: 1 << 30}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestDecodeAllocatable(t *testing.T) {
	two := listed("many", "y", 2)
	two.DeviceIds = append(two.DeviceIds, "x")
	got, err := decodeAllocatable(encode(t, []int64{0, 3, 200},
		listed("vf", "b", 0), listed("nvl", "g", 1), listed("vf", "a", 1), listed("nvl", "g", 0), listed("nvl", "plain"),
		listed("kvm", "kvm0"), listed("kvm", "kvm1"), two))
	want := map[string][]Device{
		"vf": {{"a", "1"}, {"b", "0"}}, "nvl": {{"g", "0-1"}, {"plain", ""}}, "kvm": nil, "many": {{"x", "2"}, {"y", "2"}},
	}
	if err != nil || !reflect.DeepEqual(got.devices, want) || got.cpus.String() != "0,3,200" {
		t.Errorf("got %+v, error %v", got, err)
	}
	got, err = decodeAllocatable(nil)
	if err != nil || len(got.devices) != 0 || !got.cpus.IsEmpty() {
		t.Errorf("of nothing: %+v, error %v", got, err)
	}
	unpacked := protowire.AppendVarint(protowire.AppendTag(nil, answerCPUs, protowire.VarintType), 7)
	got, err = decodeAllocatable(unpacked)
	if err != nil || got.cpus.String() != "7" {
		t.Errorf("CPUs one by one: %+v, error %v", got, err)
	}
}

func TestDecodeAllocatableRefuses(t *testing.T) {
	whole := encode(t, []int64{1}, listed("vf", "b", 0))
	for want, answer := range map[string][]byte{
		"NUMA node 5000": encode(t, nil, listed("vf", "b", 5000)),
		"NUMA node -7":   encode(t, nil, listed("vf", "b", 0), listed("vf", "c", -7)),
		"CPU -1":         encode(t, []int64{-1}),
		"CPU 1792":       encode(t, []int64{cpuset.MaxCPUs}),
		"EOF":            whole[:len(whole)-1],
	} {
		_, err := decodeAllocatable(answer)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestFingerprint: what differs between two answers of a kubelet whose devices are as before is their order.
func TestFingerprint(t *testing.T) {
	seed := maphash.MakeSeed()
	a := listed("vf", "a", 0)
	b := listed("vf", "b", 1)
	print := fingerprint(seed, encode(t, []int64{1, 2}, a, b))
	if fingerprint(seed, encode(t, []int64{1, 2}, b, a)) != print {
		t.Error("another order has another fingerprint")
	}
	for name, other := range map[string][]byte{
		"another CPU":       encode(t, []int64{1, 3}, a, b),
		"one device fewer":  encode(t, []int64{1, 2}, a),
		"a device twice":    encode(t, []int64{1, 2}, a, b, b),
		"another NUMA node": encode(t, []int64{1, 2}, a, listed("vf", "b", 0)),
		"another name":      encode(t, []int64{1, 2}, a, listed("vg", "b", 1)),
		"half of it":        encode(t, []int64{1, 2}, a, b)[:9],
		"nothing":           nil,
	} {
		if fingerprint(seed, other) == print {
			t.Errorf("%s: the fingerprint is the same", name)
		}
	}
}

// FuzzDecodeAllocatable: what protobuf's own decoder reads is read alike.
func FuzzDecodeAllocatable(f *testing.F) {
	f.Add(encode(f, []int64{0, 1}, listed("vf", "b", 0), listed("vf", "b", 1), listed("kvm", "k")))
	f.Add(encode(f, []int64{5}, listed("vf", "b", 70)))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var got allocatable
		var err error
		bounds.Within(t, bounds.Parser, string(answer), func() {
			got, err = decodeAllocatable(answer)
			fingerprint(maphash.MakeSeed(), answer)
		})
		var message podresources.AllocatableResourcesResponse
		if err != nil || proto.Unmarshal(answer, &message) != nil {
			return
		}
		want := map[string]bool{}
		for _, d := range message.GetDevices() {
			want[d.GetResourceName()] = want[d.GetResourceName()] || len(d.GetTopology().GetNodes()) > 0 && len(d.GetDeviceIds()) > 0
		}
		for name, aligned := range want {
			devices, listed := got.devices[name]
			if !listed || aligned != slices.ContainsFunc(devices, func(d Device) bool { return d.NUMANodes != "" }) {
				t.Errorf("%q: got %+v, aligned %t", name, devices, aligned)
			}
		}
		if len(got.devices) != len(want) {
			t.Errorf("got %+v, want %v", got.devices, want)
		}
	})
}

// TestWatcherReadsDevices: a checkpoint that was never there is an empty one; one that was there and is not says nothing.
func TestWatcherReadsDevices(t *testing.T) {
	k := newFakeKubelet(t)
	w := NewWatcher(k.options())
	file := filepath.Join(k.dir, devicesDir, devicesFile)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (held int, known bool, err error) {
		w.Refresh(t.Context())
		devices := w.State().Devices
		return len(devices.Value.Held), devices.Known, devices.Err
	}
	if _, known, err := read(); known || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the directory: known %t, %v", known, err)
	}
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if held, known, err := read(); held != 0 || !known || err != nil {
		t.Errorf("before the first plugin: %d held, known %t, %v", held, known, err)
	}
	write(goodDevices)
	if held, _, err := read(); held != 4 || err != nil {
		t.Errorf("%d held, %v", held, err)
	}
	write(goodDevices[:99])
	if held, known, err := read(); held != 4 || !known || err == nil {
		t.Errorf("half a file: %d held, known %t, %v", held, known, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if held, known, err := read(); held != 4 || !known || err == nil {
		t.Errorf("removed: %d held, known %t, %v", held, known, err)
	}
	write(strings.Repeat(" ", maxFileSize+1))
	if _, _, err := read(); err == nil || !strings.Contains(err.Error(), fmt.Sprint(maxFileSize)) {
		t.Errorf("too large a file: %v", err)
	}
}

// TestWatcherAsksForDevices: a plugin that comes writes the checkpoint, one that goes takes its socket along.
func TestWatcherAsksForDevices(t *testing.T) {
	k := newFakeKubelet(t)
	k.keepCertificate(t)
	k.start(t)
	dir := filepath.Join(k.dir, devicesDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := NewWatcher(k.options())
	changed := w.Subscribe()
	start(t, w)
	await(t, w, changed, "no devices", func(s *State) bool { return s.Asked() && s.Served.Known && len(s.Served.Value) == 0 && s.Watched.Value })
	k.set(func() { k.devices = []*podresources.ContainerDevices{listed("intel.com/vf", "a", 1)} })
	replace(t, filepath.Join(dir, devicesFile), goodDevices)
	await(t, w, changed, "a plugin that came", func(s *State) bool { return len(s.Served.Value["intel.com/vf"]) == 1 && len(s.Devices.Value.Held) == 4 })
	socket := filepath.Join(dir, "vf.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.set(func() { k.devices = nil })
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	await(t, w, changed, "a plugin that went", func(s *State) bool { return len(s.Served.Value) == 0 })
	// The agent's start asks, and so does the first look at the configuration file.
	if asked := k.askedTimes(); asked > 2 {
		t.Errorf("%d questions for the configuration, want those of the start, 2 at most", asked)
	}
}

func (k *fakeKubelet) askedTimes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}
