// SPDX-License-Identifier: Apache-2.0

package version

import (
	"fmt"
	"regexp"
	"strconv"
)

// minorOf finds the minor in v1.35.4, 1.35, v1.35.4+rke2r1 and v1.35.4-eks-1234567. A program that was built without
// hack/ldflags.sh calls its Kubernetes v0.0.0-master, which has none.
var minorOf = regexp.MustCompile(`^v?1\.([0-9]+)(\.|$)`)

// Skew says why a scheduler that is built on one version of Kubernetes should not serve an API server of another, and what to
// do. It is "" where nothing is wrong, or a version is not known. The rule is that of
// https://kubernetes.io/releases/version-skew-policy: a kube-scheduler may be one minor older than any API server, and not newer.
func Skew(scheduler, server string) string {
	own, known := minor(scheduler)
	others, asked := minor(server)
	if !known || !asked {
		return ""
	}
	const text = "corepin-scheduler is built on Kubernetes 1.%d, and the API server is 1.%d: a scheduler may be %s; use its image with a tag that ends in -k1.%d"
	switch {
	case own > others:
		return fmt.Sprintf(text, own, others, "no newer than the API server", others)
	case own < others-1:
		return fmt.Sprintf(text, own, others, "one minor older than the API server at most", others)
	}
	return ""
}

func minor(version string) (int, bool) {
	found := minorOf.FindStringSubmatch(version)
	if found == nil {
		return 0, false
	}
	number, err := strconv.Atoi(found[1])
	return number, err == nil
}
