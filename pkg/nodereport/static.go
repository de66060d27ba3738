// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// StaticPod reports whether a kubelet gave this UID to a static pod: the hash of its manifest, in 32 hexadecimal
// digits. The API server's UIDs have dashes (applyDefaults in pkg/kubelet/config/common.go, v1.36.3). A manifest may
// set a UID of its own, which cannot be recognized.
//
// Such a pod holds its CPUs for as long as the report says so. The API server has only a mirror pod, which anybody may
// delete, and which the kubelet may fail to create.
func StaticPod(uid types.UID) bool {
	const hashDigits = 32
	return len(uid) == hashDigits && strings.Trim(string(uid), "0123456789abcdef") == ""
}
