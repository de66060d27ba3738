// Package vmiview is the scheduler's view of virtual machines: of every VirtualMachineInstance (VMI) in
// the cluster the few fields that say how its launcher pod must be scheduled.
//
// A launcher pod tells how many CPUs the kubelet will grant, not what for: threads per guest core, an isolated
// emulator, IO threads with CPUs of their own and the guest's NUMA nodes stand in the VMI only. The plugin
// works without them, on clusters without KubeVirt for instance: a VMI that is not in the view is unknown, not
// wrong, and its pod is judged by itself.
//
// VMIs are decoded as they arrive (package crwatch) and kept without status, labels and whatever else
// nothing here reads: some hundred bytes each. Their statuses change all the time; a change that says
// nothing new about CPUs is told to nobody.
package vmiview

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

// Resource is the name under which the API server serves VMIs. Every KubeVirt that is in use serves v1,
// whatever version an object was written in.
var Resource = schema.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"}

// Events are what a user of the view wants to be told.
type Events struct {
	// Changed is called when a VMI asks for something else than was known, after the view has it: of one that comes
	// after the first list nothing was known.
	Changed func(types.NamespacedName)
	// Settled is called once, when the view is no longer Starting.
	Settled func()
}

// View holds the VMIs. The zero View knows none and never will unless Set tells it. All methods may be called
// from any goroutine.
type View struct {
	client   dynamic.Interface
	starting atomic.Bool
	vmis     sync.Map // types.NamespacedName to *entry
}

// New is a view that is Starting until Run has listed the VMIs, or has failed to.
func New(client dynamic.Interface) *View {
	v := &View{client: client}
	v.starting.Store(true)
	return v
}

// Get gives what is known of a VMI; ok is false where nothing is: there is no CRD, no such VMI, or one of
// that name with another UID. An empty uid stands for any. What it returns must not be changed. The error
// tells why a VMI that is there cannot be read; it names every field that has not its type.
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

// Starting tells that the VMIs are being listed for the first time: what Get does not know now it may know in a
// moment.
func (v *View) Starting() bool { return v.starting.Load() }

// Set takes a VMI as the API server has it. It tells whether it asks for something else than was known.
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

// entry is what is kept of one VMI. Of the object's metadata it has what the informer's store needs. It does
// not change.
type entry struct {
	metav1.ObjectMeta
	vmi *vmi.VMI
	err error
}

func decode(object *unstructured.Unstructured) *entry {
	e := &entry{ObjectMeta: metav1.ObjectMeta{
		Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(), ResourceVersion: object.GetResourceVersion(),
	}}
	if e.vmi, e.err = vmi.FromUnstructured(object.Object); e.err == nil {
		e.vmi = e.vmi.Compact()
	}
	return e
}

func (e *entry) name() types.NamespacedName {
	return types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
}

// asksLike tells whether both entries ask for the same.
func (e *entry) asksLike(other *entry) bool {
	if e.err != nil || other.err != nil {
		return e.err != nil && other.err != nil && e.err.Error() == other.err.Error()
	}
	return reflect.DeepEqual(e.vmi, other.vmi)
}

// handler brings the informer's events into the view.
type handler struct {
	view    *View
	changed func(types.NamespacedName)
}

// OnAdd is called by the informer for a VMI it had not.
func (h *handler) OnAdd(object any, _ bool) { h.OnUpdate(nil, object) }

// OnUpdate is called by the informer for a VMI that may have changed.
func (h *handler) OnUpdate(_, object any) {
	if now, ok := object.(*entry); ok && h.view.set(now) && !h.view.Starting() {
		h.changed(now.name())
	}
}

// OnDelete is called by the informer for a VMI that is gone.
func (h *handler) OnDelete(object any) {
	if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
		h.view.vmis.Delete(types.NamespacedName{Namespace: name.Namespace, Name: name.Name})
	}
}
