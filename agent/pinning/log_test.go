// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"corepin.dev/corepin/agent/config"
	"corepin.dev/corepin/pkg/cputopology"
)

// A node where a hundred VMs start, run for ten minutes, and stop. The log has what an operator needs, and no more.
func TestAHundredStartsAreFewLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scenario{fixture: newFixtureWith(t, config.Pinning{
			Mode: config.PinningEnforce, Deadline: metav1.Duration{Duration: 5 * time.Second}, VerifyPeriod: metav1.Duration{Duration: 4 * time.Second},
			LauncherNamespaces: []string{"vms"},
		}), host: cputopology.MustParse("1 sockets x 1 numa x 128 cores x 1 threads"), namespaces: map[string]string{}}
		var mu sync.Mutex
		lines := map[string]int{}
		logger := funcr.New(func(_, args string) {
			mu.Lock()
			defer mu.Unlock()
			message, _, _ := strings.Cut(strings.TrimPrefix(args, `"level"=0 `), " \"pod\"")
			lines[message]++
		}, funcr.Options{Verbosity: 2})
		s.context = klog.NewContext(t.Context(), logger)
		s.begin()
		total := func() (n int) {
			mu.Lock()
			defer mu.Unlock()
			for _, count := range lines {
				n += count
			}
			return n
		}
		const guests = 100
		each := func(f func(name string)) {
			for i := range guests {
				f(strconv.Itoa(i))
			}
			s.controller.Trigger()
			synctest.Wait()
		}
		each(func(name string) { s.addPod(name, name, "") })
		<-time.After(20 * time.Second) // until the launchers' libvirts answer
		each(func(name string) { s.ofLibvirt("guest", s.libvirts[name], []string{"!0-127"}) })
		<-time.After(10 * time.Second)
		if got := total(); got < guests || got > 3*guests {
			t.Errorf("%d lines for %d starts: %v", got, guests, lines)
		}
		before := total()
		<-time.After(10 * time.Minute)
		if got := total() - before; got > 0 {
			t.Errorf("%d lines in ten idle minutes: %v", got, lines)
		}
		each(func(name string) {
			s.changePod(name, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} })
		})
		each(func(name string) { s.ofLibvirt("libvirt", s.libvirts[name], []string{"unreachable"}) })
		<-time.After(time.Minute)
		each(func(name string) { s.ofPod("remove", name, nil) })
		<-time.After(10 * time.Second)
		if got := total() - before; got > 0 {
			t.Errorf("%d lines for %d ordinary stops: %v", got, guests, lines)
		}
		t.Logf("%d lines for %d starts, idle minutes and stops", total(), guests)
		s.end()
	})
}
