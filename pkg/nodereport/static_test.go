// SPDX-License-Identifier: Apache-2.0

package nodereport

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestStaticPod(t *testing.T) {
	for uid, want := range map[types.UID]bool{
		"0123456789abcdef0123456789abcdef":     true,
		"6ba7b810-9dad-11d1-80b4-00c04fd430c8": false,
		"0123456789abcdef0123456789abcde":      false,
		"0123456789ABCDEF0123456789ABCDEF":     false,
		"":                                     false,
	} {
		if got := StaticPod(uid); got != want {
			t.Errorf("StaticPod(%q) = %t", uid, got)
		}
	}
}
