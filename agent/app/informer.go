// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// listed is what lists and watches objects of one kind, in the shape that every client has.
type listed[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// informerOf watches those objects of a kind whose field has a value; all of them where field is "". It stands
// in place of client-go's ready-made informers: with those comes every kind that Kubernetes has, and a third of
// this program's memory.
func informerOf[L runtime.Object](client any, objects listed[L], kind runtime.Object, field, value string) cache.SharedIndexInformer {
	only := func(o metav1.ListOptions) metav1.ListOptions {
		if field != "" {
			o.FieldSelector = fields.OneTermEqualSelector(field, value).String()
		}
		return o
	}
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return objects.List(ctx, only(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return objects.Watch(ctx, only(o))
		},
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(source, client), kind, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}
