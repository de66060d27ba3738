// SPDX-License-Identifier: Apache-2.0

package skew

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
	"k8s.io/utils/clock"
)

// upgraded is an API server that gives another answer each time, and the last one for ever.
type upgraded struct {
	answers []string // "" is an error
	asked   []time.Time
}

func (u *upgraded) ServerVersion() (*apiversion.Info, error) {
	answer := u.answers[min(len(u.asked), len(u.answers)-1)]
	u.asked = append(u.asked, time.Now())
	if answer == "" {
		return nil, errors.New("connection refused")
	}
	return &apiversion.Info{GitVersion: answer}, nil
}

// logged are the messages that a Watch logs in 55 minutes.
func logged(t *testing.T, of *upgraded) []string {
	var lines []string
	logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(klog.NewContext(t.Context(), logger), 55*time.Minute)
		defer stop()
		Watch(ctx, "v1.36.3", of, clock.RealClock{})
	})
	sink, ok := logger.GetSink().(ktesting.Underlier)
	if !ok {
		t.Fatal("the log cannot be read")
	}
	for _, entry := range sink.GetBuffer().Data() {
		text := entry.Message
		for i := 1; i < len(entry.ParameterKVList); i += 2 {
			value, _ := entry.ParameterKVList[i].(string)
			text += " " + value
		}
		if entry.Type == ktesting.LogError {
			text = "WARNING " + text
		}
		lines = append(lines, text)
	}
	return lines
}

func TestWatch(t *testing.T) {
	for name, test := range map[string]struct {
		answers []string
		want    []string // what each line has
		times   int
	}{
		"the same minor":               {[]string{"v1.36.0"}, []string{"may serve"}, 6},
		"no answer at first":           {[]string{"", "v1.36.0"}, []string{"failed", "may serve"}, 7},
		"older, from the first answer": {[]string{"v1.35.4"}, []string{"WARNING", "1.35"}, 6},
		"upgraded twice":               {[]string{"v1.36.0", "v1.37.2", "v1.37.2", "v1.38.0"}, []string{"may serve", "v1.37.2", "-k1.38"}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			of := &upgraded{answers: test.answers}
			lines := logged(t, of)
			all := strings.Join(lines, "\n")
			for _, want := range test.want {
				if !strings.Contains(all, want) {
					t.Errorf("the log lacks %q:\n%s", want, all)
				}
			}
			if strings.Contains(all, "WARNING") != strings.Contains(all, "-k1.") {
				t.Errorf("warnings are errors in the log, and nothing else is:\n%s", all)
			}
			if len(of.asked) != test.times {
				t.Errorf("asked %d times in 55 minutes, want %d", len(of.asked), test.times)
			}
		})
	}
}
