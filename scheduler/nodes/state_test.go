// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A node has a state of its own that passes from the moment a pod is bound to it until its report has the pod.
func TestStatePassesWhileAPodIsInFlight(t *testing.T) {
	v := newView()
	v.Set("n1", reportOf(t, nil))
	info := nodeInfo()
	expect := func(when string, known, passes bool) (hash uint64) {
		t.Helper()
		hash, passing := v.State(info)
		if (hash != 0) != known || passing != passes {
			t.Errorf("%s: hash %d, passing %t; want a hash: %t, passing: %t", when, hash, passing, known, passes)
		}
		return hash
	}
	empty := expect("empty", true, false)
	pod := vm("a", "2")
	info.AddPod(pod)
	expect("a VM is bound", false, true)
	v.Set("n1", reportOf(t, grants{"a": compute("1,9")}))
	full := expect("reported", true, false)
	if full == empty {
		t.Errorf("the hash is %d with a VM and without", full)
	}
	if err := info.RemovePod(logger(t), pod); err != nil {
		t.Fatal(err)
	}
	expect("the VM has left, and no report says so", false, false)
	v.Set("n1", reportOf(t, nil))
	if again := expect("empty again", true, false); again != empty {
		t.Errorf("the hash is %d; want %d, as when it was empty before", again, empty)
	}
	info.SetNode(&corev1.Node{})
	expect("a node without a report", false, false)
}
