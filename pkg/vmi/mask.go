// SPDX-License-Identifier: Apache-2.0

package vmi

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maskPart is an element of a realtime mask: a vCPU or a range of them. With ^ before it, these are left out.
var maskPart = regexp.MustCompile(`^(\^)?([0-9]{1,9})(?:-([0-9]{1,9}))?$`)

// badMask says what is wrong with a realtime mask of a guest of so many vCPUs, "" if nothing is. KubeVirt's
// virt-handler (pkg/hypervisor/kvm/realtime.go, commit d923fdb815cd) accepts blanks around an element, and takes an empty
// mask for all vCPUs. It reads the mask only when the VM has started.
func badMask(mask string, vcpus int64) string {
	if mask == "" {
		return ""
	}
	meant := map[int64]bool{}
	excluded := map[int64]bool{}
	for _, part := range strings.Split(mask, ",") {
		match := maskPart.FindStringSubmatch(strings.TrimSpace(part))
		if match == nil {
			return fmt.Sprintf("%q is not a list of vCPUs", abbreviate(mask))
		}
		first, _ := strconv.ParseInt(match[2], 10, 64)
		last := first
		if match[3] != "" {
			last, _ = strconv.ParseInt(match[3], 10, 64)
		}
		if last < first {
			return fmt.Sprintf("%q has a range that ends before it begins", abbreviate(mask))
		}
		if vcpus > 0 && last >= vcpus {
			return fmt.Sprintf("%q names vCPU %d, and the guest has %d, from 0 on", abbreviate(mask), last, vcpus)
		}
		set := meant
		if match[1] != "" {
			set = excluded
		}
		for id := first; id <= min(last, first+maxVCPUs); id++ {
			set[id] = true
		}
	}
	for id := range meant {
		if !excluded[id] {
			return ""
		}
	}
	return fmt.Sprintf("%q means no vCPU at all", abbreviate(mask))
}
