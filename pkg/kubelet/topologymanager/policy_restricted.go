// SPDX-License-Identifier: Apache-2.0

package topologymanager

// restricted is the policy restricted: the best hint, if it is a preferred one (policy_restricted.go, v1.36.3).
func (r *Request) restricted() (Affinity, error) {
	mask, found := r.preferred()
	if !found {
		if r.outOfRange != 0 {
			r.possible() // The kubelet compares hints that are not preferred, too, and may panic.
		}
		return Affinity{}, ErrAffinity
	}
	return Affinity{mask, true}, nil
}
