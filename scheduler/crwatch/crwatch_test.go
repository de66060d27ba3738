package crwatch

import (
	"context"
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
		failed, listed := 0, 0
		watch := Watch{
			Resource: things,
			Decode:   func(object *unstructured.Unstructured) any { return object },
			Handler:  cache.ResourceEventHandlerFuncs{},
			Failed:   func() { failed++ },
			Listed:   func() { listed++ },
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- watch.Run(ctx, client) }()

		begun := time.Now()
		for failed == 0 && time.Since(begun) < time.Minute {
			<-time.After(time.Second)
			synctest.Wait()
		}
		if waited := time.Since(begun); failed != 1 || listed != 0 || waited > firstListTimeout+time.Second {
			t.Errorf("after %s: given up %d times, listed %d times; want given up once, after %s", waited, failed, listed, firstListTimeout)
		}
		close(answer)
		for listed == 0 && time.Since(begun) < 2*time.Minute {
			<-time.After(time.Second)
			synctest.Wait()
		}
		if failed != 1 || listed != 1 {
			t.Errorf("with the answer: given up %d times, listed %d times, want once each", failed, listed)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
