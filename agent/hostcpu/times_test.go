// SPDX-License-Identifier: Apache-2.0

package hostcpu

import (
	"os"
	"testing"
	"testing/fstest"
	"time"
)

func TestReadTimes(t *testing.T) {
	const stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 100 20 3 400 5 6 7 8 90 10\ncpu3 1 0 0 9 0 0 0 0 0 0\nintr 5 0\n"
	all, err := ReadTimes(fstest.MapFS{"stat": {Data: []byte(stat)}})
	want := Times{Busy: 1230 * time.Millisecond, IRQ: 60 * time.Millisecond, SoftIRQ: 70 * time.Millisecond, Steal: 80 * time.Millisecond}
	if err != nil || len(all) != 2 || all[0] != want || all[3].Busy != tick {
		t.Errorf("%+v, %v", all, err)
	}
	for _, bad := range []string{"cpu0 1 2\n", "cpux 1 2 3 4 5 6 7 8\n", "cpu0 a 2 3 4 5 6 7 8\n"} {
		if all, err := ReadTimes(fstest.MapFS{"stat": {Data: []byte(bad)}}); err == nil {
			t.Errorf("%q: %v", bad, all)
		}
	}
	if all, err := ReadTimes(os.DirFS("/proc")); err != nil || len(all) == 0 || all[0].Busy == 0 {
		t.Errorf("this machine: %v, %v", all, err)
	}
}
