// SPDX-License-Identifier: Apache-2.0

// Package vms keeps what the scheduler has to know about virtual machines: the few fields of every
// VirtualMachineInstance (VMI) that say how its launcher pod must be scheduled.
//
// A launcher pod states how many CPUs the kubelet will grant, but not what they are for. Threads per guest core, an
// isolated emulator, IO threads with CPUs of their own and guest NUMA nodes are fields of the VMI only. The plugin works
// without them, for instance on clusters without KubeVirt. A VMI that is not in the view is unknown, not wrong, and its
// pod is judged by itself.
//
// VMIs are decoded as they arrive (package crwatch). Status, labels and all fields that the scheduler does not read are
// dropped, so a VMI takes some hundred bytes. A VMI's status changes often. A change that asks for nothing new is not
// reported to the user of the view.
//
// An index over the pod informer finds the launcher pods of a VMI (pods.go). Without it each change of a VMI
// would read all pods of its namespace, which is quadratic in the number of VMs.
package vms

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"corepin.dev/corepin/pkg/vmi"
	"corepin.dev/corepin/scheduler/crwatch"
)

// Resource is the resource under which the API server serves VMIs. Every KubeVirt release in use serves v1,
// whatever version an object was written in.
var Resource = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}

// Events are callbacks of Run. All must be set.
type Events struct {
	// Changed is called after the view has a VMI that asks for something else than before. A VMI that is created
	// after the first list counts as changed.
	Changed func(types.NamespacedName)
	// Settled is called once, when the view is no longer Starting.
	Settled func()
}

// View holds the VMIs. The zero View is empty and changes by Set only. All methods may be called from any
// goroutine.
type View struct {
	client   dynamic.Interface
	starting atomic.Bool
	vmis     sync.Map // types.NamespacedName to *entry
}

// New returns a view that is Starting until Run has listed the VMIs or has failed to.
func New(client dynamic.Interface) *View {
	v := &View{client: client}
	v.starting.Store(true)
	return v
}

// Get returns a VMI. An empty uid matches any. ok is false if there is no CRD, no VMI of that name, or one of that
// name with another UID. The error says why an existing VMI cannot be read; it names every field of a wrong type.
// The VMI must not be changed.
func (v *View) Get(name types.NamespacedName, uid types.UID) (machine *vmi.VMI, ok bool, err error) {
	value, ok := v.vmis.Load(name)
	if !ok {
		return nil, false, nil
	}
	e := value.(*entry)
	if uid != "" && e.UID != uid {
		return nil, false, nil
	}
	return e.vmi, true, e.err
}

// Starting reports whether the VMIs are being listed for the first time. Get may find a VMI a moment later then.
func (v *View) Starting() bool { return v.starting.Load() }

// Set stores a VMI as the API server has it. It reports whether the VMI asks for something else than before.
func (v *View) Set(object *unstructured.Unstructured) (changed bool) { return v.set(decode(object)) }

func (v *View) set(now *entry) (changed bool) {
	before, there := v.vmis.Swap(now.name(), now)
	return !there || !now.asksLike(before.(*entry))
}

// Run keeps the view up to date until ctx ends. It must be called once.
func (v *View) Run(ctx context.Context, events Events) error {
	settle := func() {
		if v.starting.Swap(false) {
			events.Settled()
		}
	}
	watch := crwatch.Watch{
		Resource: Resource,
		Missing:  "nothing where KubeVirt is not installed: launcher pods are judged by themselves",
		Decode:   func(object *unstructured.Unstructured) any { return decode(object) },
		Handler:  &handler{view: v, changed: events.Changed},
		Failed:   settle,
		Listed:   settle,
	}
	return watch.Run(ctx, v.client)
}

// entry is one VMI as it is kept, with the metadata that the informer's store needs. It is immutable.
type entry struct {
	metav1.ObjectMeta
	vmi *vmi.VMI
	err error
}

func decode(object *unstructured.Unstructured) *entry {
	e := &entry{ObjectMeta: metav1.ObjectMeta{
		Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
		OwnerReferences: controllingVM(object),
	}}
	e.vmi, e.err = vmi.FromUnstructured(object.Object)
	if e.err == nil {
		e.vmi = e.vmi.Compact()
	}
	return e
}

func (e *entry) name() types.NamespacedName {
	return types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
}

// asksLike reports whether both entries ask for the same.
func (e *entry) asksLike(other *entry) bool {
	if e.err != nil || other.err != nil {
		return e.err != nil && other.err != nil && e.err.Error() == other.err.Error()
	}
	return reflect.DeepEqual(e.vmi, other.vmi)
}

// handler passes the informer's events to the view.
type handler struct {
	view    *View
	changed func(types.NamespacedName)
}

// OnAdd is called by the informer for a new VMI.
func (h *handler) OnAdd(object any, _ bool) { h.OnUpdate(nil, object) }

// OnUpdate is called by the informer for a VMI that may have changed.
func (h *handler) OnUpdate(_, object any) {
	if now, ok := object.(*entry); ok && h.view.set(now) && !h.view.Starting() {
		h.changed(now.name())
	}
}

// OnDelete is called by the informer for a deleted VMI.
func (h *handler) OnDelete(object any) {
	if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
		h.view.vmis.Delete(types.NamespacedName{Namespace: name.Namespace, Name: name.Name})
	}
}
