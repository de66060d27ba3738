// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"corepin.dev/corepin/pkg/nodereport"
)

// Lease is the lock of a scheduler's leader election.
type Lease struct {
	// Holder is who has it; "" for nobody.
	Holder string
	// Acquired is when the holder got it.
	Acquired time.Time
	// Renewed is when the holder last renewed it, and Duration for how long that holds.
	Renewed  time.Time
	Duration time.Duration
	// Now is the API server's time.
	Now time.Time
}

// leads reports whether somebody holds the Lease now.
func (l *Lease) leads() bool {
	return l != nil && l.Holder != "" && l.Now.Sub(l.Renewed) <= l.Duration
}

// leaseName is a Lease's namespace and name.
type leaseName struct{ namespace, name string }

func (n leaseName) String() string { return n.namespace + "/" + n.name }

// The Leases of the manifests, and the profile's name there. In manifests/overlays/single-process corepin-scheduler has
// kube-scheduler's Lease, and the pods of its Deployment hold it.
var (
	shippedLease = leaseName{"corepin-system", "corepin-scheduler"}
	stockLease   = leaseName{"kube-system", "kube-scheduler"}
)

const (
	shippedProfile   = "corepin"
	shippedPodPrefix = "corepin-scheduler-"
)

// schedulerNames are the profiles of corepin-schedulers and their Leases. parse reads them from the flag.
type schedulerNames map[string]leaseName

func parseSchedulers(flags []string) (schedulerNames, error) {
	names := schedulerNames{}
	for _, flag := range flags {
		profile, lease, _ := strings.Cut(flag, "=")
		namespace, name, ok := strings.Cut(lease, "/")
		if !ok || profile == "" || namespace == "" || name == "" {
			return nil, fmt.Errorf("--scheduler is %q; want NAME=NAMESPACE/LEASE", flag)
		}
		names[profile] = leaseName{namespace, name}
	}
	if len(names) == 0 {
		names[shippedProfile] = shippedLease
	}
	return names, nil
}

// attention is what there is to say about who places a pod.
type attention struct {
	// problem is why nobody does; "" where somebody does.
	problem string
	// note is what else a reader should know; "" where that is nothing.
	note string
}

// placedBy says who places a pod of the cluster.
func (c *call) placedBy(ctx context.Context, pod *corev1.Pod) attention {
	names, err := parseSchedulers(c.schedulers)
	if err != nil || c.host.Lease == nil {
		return attention{}
	}
	profile := cmp.Or(pod.Spec.SchedulerName, corev1.DefaultSchedulerName)
	where, known := names[profile]
	if !known && profile != corev1.DefaultSchedulerName {
		return attention{problem: fmt.Sprintf("no corepin-scheduler is known by schedulerName %q (known: %s); unless another scheduler has that name, "+
			"nobody places the pod. Correct the name, or name the scheduler's Lease with --scheduler %s=NAMESPACE/LEASE",
			profile, strings.Join(slices.Sorted(maps.Keys(names)), ", "), profile)}
	}
	if !known {
		where = names[shippedProfile]
	}
	lease, err := c.lease(ctx, where)
	stock := false
	if err == nil && !lease.leads() {
		if other := c.stockLeader(ctx); other != nil {
			lease = other
			stock = true
		}
	}
	switch {
	case err != nil:
		return attention{note: fmt.Sprintf("whether a corepin-scheduler leads is not known: %v", err)}
	case !known && !stock:
		return attention{note: "the pod names no scheduler, so the cluster's own places it, which does not ask the kubelets. " +
			"What follows is what corepin-scheduler would say; it takes the pods with schedulerName " + shippedProfile}
	case lease.leads():
		return attention{}
	}
	return attention{problem: fmt.Sprintf("%s, so nobody places the pod, whatever room there is: kubectl get pods -n %s", nobodyLeads(where, lease), where.namespace)}
}

// stockLeader is kube-scheduler's Lease where a corepin-scheduler leads in its place; nil where none does, or where the command
// line names the Leases.
func (c *call) stockLeader(ctx context.Context) *Lease {
	if len(c.schedulers) > 0 {
		return nil
	}
	lease, err := c.lease(ctx, stockLease)
	if err != nil || !lease.leads() || !strings.HasPrefix(lease.Holder, shippedPodPrefix) {
		return nil
	}
	return lease
}

// nobodyLeads says since when.
func nobodyLeads(where leaseName, lease *Lease) string {
	if lease == nil {
		return fmt.Sprintf("no corepin-scheduler leads: there is no Lease %s", where)
	}
	if lease.Holder == "" {
		return fmt.Sprintf("no corepin-scheduler leads: nobody holds Lease %s", where)
	}
	return fmt.Sprintf("no corepin-scheduler leads since %s: Lease %s was last renewed %s ago, by %s",
		nodereport.Moment(lease.Renewed.Add(lease.Duration)), where, lease.Now.Sub(lease.Renewed).Round(time.Second), lease.Holder)
}

// lease reads a Lease once in a run; nil where there is none.
func (c *call) lease(ctx context.Context, where leaseName) (*Lease, error) {
	answer, asked := c.leases[where]
	if !asked {
		answer.lease, answer.err = c.host.Lease(ctx, where.namespace, where.name)
		if c.leases == nil {
			c.leases = map[leaseName]leaseAnswer{}
		}
		c.leases[where] = answer
	}
	return answer.lease, answer.err
}

type leaseAnswer struct {
	lease *Lease
	err   error
}
