// SPDX-License-Identifier: Apache-2.0

package pinning

import (
	"fmt"
	"time"

	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
)

// Pauses between two log lines about the same problem of a guest.
const (
	firstLogPause   = 10 * time.Second
	longestLogPause = 10 * time.Minute
)

// complaints decides when a guest's problems are told and logged: once each has lasted for its patience, then in events
// only when the words change, and in the log at growing intervals.
type complaints struct {
	deadline time.Duration
	rows     map[reason]*row
	logged   *flowcontrol.Backoff // by reason
	// told is the last complaint that was told; "" once all is well.
	told string
}

// row is a row of looks with one problem.
type row struct {
	first time.Time
	last  time.Time
	// interrupted reports whether the last look did not have the problem, and returned whether it has come back since.
	interrupted bool
	returned    bool
	told        bool
	text        string
	remembered  time.Duration
}

func newComplaints(deadline time.Duration, clock clock.Clock) *complaints {
	logged := flowcontrol.NewBackOff(firstLogPause, longestLogPause)
	logged.Clock = clock
	return &complaints{deadline: deadline, rows: map[reason]*row{}, logged: logged}
}

// note takes the problem that a look has found; nil means none. due reports whether it has lasted for its patience.
func (c *complaints) note(p *problem, now time.Time) (due bool) {
	for other, r := range c.rows {
		switch {
		case p != nil && p.reason == other:
		case p != nil: // it may last, hidden behind this look's problem
		case now.Sub(r.last) >= r.remembered:
			delete(c.rows, other)
		default:
			r.interrupted = true
		}
	}
	if p == nil {
		return false
	}
	r := c.rows[p.reason]
	if r == nil {
		r = &row{first: now, remembered: p.remembered() * c.deadline}
		c.rows[p.reason] = r
	}
	r.returned = r.returned || r.interrupted
	r.interrupted = false
	r.last = now
	r.text = p.Error()
	if r.returned {
		r.text = fmt.Sprintf("%s; it went away and came back, so something keeps changing it", p)
	}
	due = now.Sub(r.first) >= p.patience()*c.deadline
	r.told = r.told || due
	return due
}

// recurring is the text of a problem that keeps going away and coming back, and is away now; "" where there is none.
func (c *complaints) recurring() string {
	for _, r := range c.rows {
		if r.told && r.returned && r.interrupted {
			return r.text
		}
	}
	return ""
}

// logs reports whether a problem is to be logged now.
func (c *complaints) logs(p *problem, now time.Time) bool {
	key := string(p.reason)
	if c.logged.IsInBackOffSinceUpdate(key, now) {
		return false
	}
	c.logged.Next(key, now)
	return true
}
