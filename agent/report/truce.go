package report

import (
	"errors"
	"time"
)

// Pauses between two corrections of what somebody else writes into the report.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// errTruce says that the report was changed by somebody else, again, and is not put right at once.
var errTruce = errors.New("somebody else keeps writing this report, perhaps a second agent for the same node; waiting before it is put right again")

// truce keeps two writers of one report from answering each other as fast as they can. In a rollout an agent
// may overlap with its successor, of another version, which words things differently: each would correct
// the other. The first correction is made at once, every further one after twice the pause, until there
// has been quiet for as long as the longest.
type truce struct {
	until time.Time
	pause time.Duration
}

func (t *truce) holds(now time.Time) bool { return now.Before(t.until) }

func (t *truce) corrected(now time.Time) {
	t.pause = min(2*t.pause, longestPause)
	if t.pause == 0 || now.Sub(t.until) > longestPause {
		t.pause = firstPause
	}
	t.until = now.Add(t.pause)
}
