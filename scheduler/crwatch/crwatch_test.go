// SPDX-License-Identifier: Apache-2.0

package crwatch

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

var things = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}

// TestAListThatDoesNotCome holds that a server which takes the request and never answers is given up, in good
// time, and that the list is taken when it comes after all. What is tried without resources, without permission
// and without a connection is in the packages that use a Watch.
func TestAListThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{things: "ThingList"})
		answer := make(chan struct{})
		client.PrependReactor("list", things.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			<-answer
			return false, nil, nil
		})
		var failed, listed atomic.Int32
		watch := Watch{
			Resource: things,
			Decode:   func(object *unstructured.Unstructured) any { return object },
			Handler:  cache.ResourceEventHandlerFuncs{},
			Failed:   func() { failed.Add(1) },
			Listed:   func() { listed.Add(1) },
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- watch.Run(ctx, client) }()

		begun := time.Now()
		for failed.Load() == 0 && time.Since(begun) < time.Minute {
			<-time.After(time.Second)
			synctest.Wait()
		}
		if waited := time.Since(begun); failed.Load() != 1 || listed.Load() != 0 || waited > firstListTimeout+time.Second {
			t.Errorf("after %s: given up %d times, listed %d times; want given up once, after %s", waited, failed.Load(), listed.Load(), firstListTimeout)
		}
		close(answer)
		for listed.Load() == 0 && time.Since(begun) < 2*time.Minute {
			<-time.After(time.Second)
			synctest.Wait()
		}
		if failed.Load() != 1 || listed.Load() != 1 {
			t.Errorf("with the answer: given up %d times, listed %d times, want once each", failed.Load(), listed.Load())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
