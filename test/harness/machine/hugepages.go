// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// pagesScript sets the number of huge pages of $0 KiB on each NUMA node, and prints what there are then. A kernel that does not
// find enough memory in one piece makes fewer and says nothing.
const pagesScript = `
cd /sys/devices/system/node
node=0
for count in "$@"; do
	file=node$node/hugepages/hugepages-$0kB/nr_hugepages
	echo "$count" >$file && cat $file
	node=$((node + 1))
done`

// SetHugePages makes or takes huge pages of a size in KiB, so that there are so many on each NUMA node, in the order of their
// ids. Pages that somebody uses stay.
func (m *Machine) SetHugePages(ctx context.Context, kib int, counts ...int) error {
	command := []string{"sh", "-ec", pagesScript, strconv.Itoa(kib)}
	for _, count := range counts {
		command = append(command, strconv.Itoa(count))
	}
	output, err := m.Run(ctx, command...)
	if err != nil {
		return err
	}
	if got := fmt.Sprint(strings.Fields(output)); got != fmt.Sprint(counts) {
		return fmt.Errorf("machine %s has %s huge pages of %d KiB by NUMA node, wanted are %d", m.options.Name, got, kib, counts)
	}
	return nil
}

// devicePlugin is the service that StartDevicePlugin starts.
const devicePlugin = "deviceplugin"

// StartDevicePlugin runs hack/deviceplugin for a resource, unless it runs already. devices are their numbers by NUMA node, as the
// plugin reads them: "0:2,1:1".
func (m *Machine) StartDevicePlugin(ctx context.Context, resource, devices string) error {
	if _, err := m.Run(ctx, "busybox", "pidof", devicePlugin); err == nil {
		return nil
	}
	return m.start(ctx, devicePlugin, fmt.Sprintf("%s -resource %s -devices %s", devicePlugin, resource, devices))
}

// numaMapsScript prints the memory areas of the QEMU that runs domain $0 that are made of huge pages.
const numaMapsScript = `
for pid in $(busybox pidof qemu-system-x86_64); do
	tr '\0' ' ' </proc/$pid/cmdline | grep -q " guest=$0," || continue
	busybox grep ' huge ' /proc/$pid/numa_maps
done`

// GuestHugePages is how many huge pages the QEMU that runs a domain has on each NUMA node, as the kernel says.
func (m *Machine) GuestHugePages(ctx context.Context, domain string) (map[int]int, error) {
	output, err := m.Run(ctx, "sh", "-c", numaMapsScript, domain)
	if err != nil {
		return nil, err
	}
	return hugePagesOf(output)
}

// hugePagesOf adds up lines of numa_maps: "7f3a00000000 default file=/dev/hugepages/... huge dirty=32 N1=32 kernelpagesize_kB=2048".
func hugePagesOf(maps string) (map[int]int, error) {
	pages := map[int]int{}
	for _, word := range strings.Fields(maps) {
		name, count, _ := strings.Cut(word, "=")
		node, isNode := strings.CutPrefix(name, "N")
		id, err := strconv.Atoi(node)
		if !isNode || err != nil {
			continue
		}
		n, err := strconv.Atoi(count)
		if err != nil {
			return nil, fmt.Errorf("reading numa_maps: %q", word)
		}
		pages[id] += n
	}
	return pages, nil
}
