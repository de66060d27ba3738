// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"corepin.dev/corepin/pkg/kubelet/admission"
	"corepin.dev/corepin/pkg/simulation"
)

// The label of the migrations that rebalance makes.
const (
	madeByLabel     = "corepin.dev/made-by"
	madeByRebalance = "rebalance"
)

const (
	// phasePause is the time between two looks at a migration, and clusterPause between two looks at the cluster after it.
	phasePause   = time.Second
	clusterPause = 2 * time.Second
	// settleTimeout is how long the cluster may take to be as planned after a migration has succeeded. Meanwhile the old launcher
	// pod ends, and its kubelet takes the CPUs back, which it does every ten seconds.
	settleTimeout = 2 * time.Minute
)

// The last phases of a migration, and what stands for the phase of one that has none.
const (
	phaseSucceeded = "Succeeded"
	phaseFailed    = "Failed"
	noPhase        = "none"
)

// addedNodeSelector is the field of a migration that names its target node.
const addedNodeSelector = "addedNodeSelector"

// The next steps after a halt.
const (
	planAgain = "run rebalance again: it plans from what is there then"
	upgrade   = "upgrade KubeVirt to 1.6 or newer, which has the field, or create the migrations by hand while all other nodes are cordoned"
)

// application is a plan whose migrations are being made.
type application struct {
	*call
	flags  *rebalance
	plan   *rebalanced
	asJSON bool
	// town is the cluster as it was read last.
	town *town
	// step is the migration that is being made, from 0.
	step int
}

// halted is why the migrations end before the plan does, and what to do next.
type halted struct{ why, next string }

func (h *halted) Error() string { return h.why }

// haltf makes a halt. The next step may be "", which means to plan again.
func haltf(next, format string, args ...any) error {
	return &halted{why: fmt.Sprintf(format, args...), next: cmp.Or(next, planAgain)}
}

// canApply gives an error where a plan is not about a cluster as it is now.
func (c *call) canApply(t *town) error {
	switch {
	case c.files.dump != nil || !t.live || t.known:
		return errors.New("--apply changes a cluster, and the input has nodes, pods or VMs of one, which may have changed since; " +
			"leave out -f, or give with it only the VM that is to fit")
	case c.host.CreateMigration == nil:
		return errors.New("there is no cluster to ask")
	}
	return nil
}

// apply makes the migrations of a plan, one after the other, until the aim is reached or something is not as planned.
func (c *call) apply(ctx context.Context, p *rebalanced, r *rebalance, asJSON bool) {
	ctx, stop := c.host.UntilInterrupted(ctx)
	defer stop()
	c.out.flush()
	a := &application{call: c, flags: r, plan: p, asJSON: asJSON, town: p.town}
	var done *progress
	for done == nil {
		var err error
		done, err = a.migrate(ctx)
		if err != nil {
			a.tellHalt(err)
			c.refuse()
			return
		}
		a.step++
	}
	done.spared = len(p.Migrations) - a.step
	a.tell(done)
}

// migration is the one that is being made.
func (a *application) migration() *simulation.Migration { return &a.plan.Migrations[a.step] }

// migrate makes one migration, and waits until the cluster is as planned after it. done is the end of all; nil where more
// migrations are needed.
func (a *application) migrate(ctx context.Context) (done *progress, err error) {
	others, err := a.host.List(ctx, ResourceMigrations)
	if ctx.Err() != nil {
		return nil, a.interrupted(0, "no migration is running")
	}
	if err != nil {
		return nil, haltf("", "%v", err)
	}
	other := a.town.underWay(others, a.migration())
	if other != "" {
		return nil, haltf("wait until it has ended, and then "+planAgain, "%s; no other one is created beside it", other)
	}
	name, err := a.create(ctx)
	if err != nil {
		return nil, err
	}
	a.tell(a.event("created", name))
	err = a.await(ctx, name)
	if err != nil {
		return nil, err
	}
	return a.settle(ctx, name)
}

// create creates the migration. One whose target node the API server has dropped is deleted: KubeVirt would choose any.
func (a *application) create(ctx context.Context) (types.NamespacedName, error) {
	object := a.plan.migration(a.migration())
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return types.NamespacedName{}, haltf("", "%v", err)
	}
	ctx = context.WithoutCancel(ctx) // else nobody would know whether there is a migration
	created, err := a.host.CreateMigration(ctx, content)
	if err != nil {
		next := ""
		if strings.Contains(err.Error(), addedNodeSelector) {
			next = upgrade
		}
		return types.NamespacedName{}, haltf(next, "%v", err)
	}
	made := unstructured.Unstructured{Object: created}
	name := types.NamespacedName{Namespace: made.GetNamespace(), Name: made.GetName()}
	kept, _, _ := unstructured.NestedStringMap(created, "spec", addedNodeSelector)
	if maps.Equal(kept, object.Spec.AddedNodeSelector) {
		return name, nil
	}
	why := fmt.Sprintf("the API server keeps spec.%s of migration %s as %v, not as %v, so KubeVirt may choose another node",
		addedNodeSelector, name, kept, object.Spec.AddedNodeSelector)
	err = a.host.DeleteMigration(ctx, name)
	if err != nil {
		return name, haltf(fmt.Sprintf("kubectl delete vmim %s -n %s, and then %s", name.Name, name.Namespace, upgrade), "%s; it is still there: %v", why, err)
	}
	return name, haltf(upgrade, "%s; the migration was deleted", why)
}

// await waits until a migration has succeeded, and reports its phases.
func (a *application) await(ctx context.Context, name types.NamespacedName) error {
	began := a.host.Now()
	phase := ""
	var last map[string]any
	var unread error
	err := a.host.Poll(ctx, phasePause, a.flags.timeout, func(asking context.Context) (bool, error) {
		object, err := a.host.Migration(asking, name)
		switch {
		case apierrors.IsNotFound(err):
			return false, haltf("see where the VM is, and then "+planAgain, "migration %s was deleted by somebody else, phase %s", name, cmp.Or(phase, noPhase))
		case err != nil && asking.Err() != nil:
			return false, nil // the time is over, which is no fault of the answer
		}
		unread = err
		if err != nil {
			return false, nil // asked again
		}
		last = object
		now := migrationPhase(object)
		if now != phase {
			phase = now
			told := a.event("phase", name)
			told.Phase = phase
			told.took = a.host.Now().Sub(began)
			a.tell(told)
		}
		return migrationEnded(phase), nil
	})
	describe := fmt.Sprintf("kubectl describe vmim %s -n %s", name.Name, name.Namespace)
	var halt *halted
	switch {
	case errors.As(err, &halt):
		return halt
	case err == nil && phase == phaseSucceeded:
		return nil
	case err == nil:
		reason, _, _ := unstructured.NestedString(last, "status", "migrationState", "failureReason")
		return haltf(describe, "migration %s is %s, and was expected to be %s: %s", name, phase, phaseSucceeded, cmp.Or(reason, "it gives no reason"))
	case ctx.Err() != nil:
		return a.interrupted(1, fmt.Sprintf("migration %s is still running, phase %s, and was not deleted", name, cmp.Or(phase, noPhase)))
	case unread != nil:
		return haltf(describe, "migration %s cannot be read, phase %s before: %v", name, cmp.Or(phase, noPhase), unread)
	}
	return haltf(describe, "migration %s has not ended after %s (--migration-timeout), phase %s, and was not deleted", name, a.flags.timeout, cmp.Or(phase, noPhase))
}

// settle reads the cluster again and again, until the VM is where it was planned and the rest of the plan is possible.
func (a *application) settle(ctx context.Context, name types.NamespacedName) (done *progress, err error) {
	missing := ""
	moved := false
	err = a.host.Poll(ctx, clusterPause, settleTimeout, func(asking context.Context) (bool, error) {
		cpus, why, err := a.look(asking)
		if err != nil || asking.Err() != nil {
			return false, err
		}
		if why == "" && !moved {
			moved = true
			told := a.event("moved", name)
			told.Node = told.To
			told.grants = cpus
			told.planned = a.migration().Gets
			a.tell(told)
		}
		if why == "" {
			done, why = a.aim()
		}
		if why != "" && why != missing {
			told := a.event("waiting", name)
			told.Why = why
			a.tell(told)
		}
		missing = why
		return why == "", nil
	})
	var halt *halted
	switch {
	case err == nil:
		return done, nil
	case errors.As(err, &halt):
		return nil, halt
	case ctx.Err() != nil:
		return nil, a.interrupted(1, fmt.Sprintf("migration %s has %s, and no other one is running", name, phaseSucceeded))
	}
	return nil, haltf("", "migration %s has %s, and %s later the cluster is not as planned: %s", name, phaseSucceeded, settleTimeout, missing)
}

// look reads the cluster. cpus are those of the VM on its new node. why says what is not as planned yet; "" for nothing. The error
// is for what will not become as planned.
func (a *application) look(ctx context.Context) (cpus []admission.Grant, why string, err error) {
	town, err := a.townAgain(ctx)
	if err != nil {
		return nil, err.Error(), nil // asked again
	}
	a.town = town
	m := a.migration()
	node := town.nodeOf(m)
	if node != "" && node != m.From && node != m.To {
		return nil, "", haltf("", "%s is on node %s, and was expected on %s", m.Pod.Name, node, m.To)
	}
	cpus, why = town.landed(m)
	return cpus, why, nil
}

// interrupted is the halt after the user has interrupted the program. created is how many migrations of this step were created.
func (a *application) interrupted(created int, state string) error {
	left := len(a.plan.Migrations) - a.step - created
	return haltf("when no migration is running, "+planAgain, "interrupted: %s; %s of the plan not created", state, migrations(left))
}
