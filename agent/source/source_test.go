// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"testing"
	"time"
)

func TestReadingKeepsTheLastGoodValue(t *testing.T) {
	at := func(minute int) time.Time { return time.Unix(0, 0).Add(time.Duration(minute) * time.Minute) }
	one, other := errors.New("one"), errors.New("other")
	var r Reading[int]
	for i, step := range []struct {
		value int
		err   error
		want  Reading[int]
	}{
		{0, one, Reading[int]{Err: one, Since: at(0)}},
		{7, nil, Reading[int]{Value: 7, Known: true}},
		{0, one, Reading[int]{Value: 7, Known: true, Err: one, Since: at(2)}},
		{0, other, Reading[int]{Value: 7, Known: true, Err: other, Since: at(2)}},
		{8, nil, Reading[int]{Value: 8, Known: true}},
		{0, one, Reading[int]{Value: 8, Known: true, Err: one, Since: at(5)}},
	} {
		before := r
		r = r.Next(step.value, step.err, at(i))
		if r != step.want {
			t.Errorf("read %d: %+v, want %+v", i, r, step.want)
		}
		if before.Next(step.value, step.err, at(i)) != r {
			t.Errorf("read %d changed the reading before it", i)
		}
	}
}

func TestSameError(t *testing.T) {
	fail := func(message string) Reading[int] { return Reading[int]{Err: errors.New(message)} }
	for _, tc := range []struct {
		a, b Reading[int]
		want bool
	}{
		{Reading[int]{}, Reading[int]{Value: 1}, true},
		{fail("a"), fail("a"), true},
		{fail("a"), fail("b"), false},
		{fail("a"), Reading[int]{}, false},
		{Reading[int]{}, fail("a"), false},
	} {
		if got := tc.a.SameError(tc.b); got != tc.want {
			t.Errorf("%v and %v: %t, want %t", tc.a.Err, tc.b.Err, got, tc.want)
		}
	}
}

func TestBell(t *testing.T) {
	var b Bell
	b.Ring() // nobody there
	one, two := b.Subscribe(), b.Subscribe()
	if len(one) != 0 {
		t.Error("rung before the subscription")
	}
	b.Ring()
	<-one
	b.Ring()
	b.Ring() // folded
	if len(one) != 1 || len(two) != 1 {
		t.Errorf("%d and %d rings wait, want 1 and 1", len(one), len(two))
	}
}
