package nodereport

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// StaticPod tells whether a UID is one that a kubelet gave to a static pod: the hash of its manifest in 32 hexadecimal
// digits, where the API server's have dashes (applyDefaults in pkg/kubelet/config/common.go, v1.36.3). A manifest may
// give a UID of its own, which cannot be told.
//
// Such a pod holds its CPUs for as long as the report says so, whether or not the API server has a pod for it: what is
// there is a mirror, which anybody may delete and which the kubelet may never be able to make.
func StaticPod(uid types.UID) bool {
	const hashDigits = 32
	return len(uid) == hashDigits && strings.Trim(string(uid), "0123456789abcdef") == ""
}
