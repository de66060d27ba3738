// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"time"
)

const (
	// livePause is the least time between two looks at the cluster, and liveShare how many times as long as a look takes it is.
	// So a large cluster, whose pods take seconds to list, is not listed all the time.
	livePause = time.Second
	liveShare = 10
)

// liveNodes is what nodes --watch shows.
type liveNodes struct {
	*call
	color string
	// shown is the text that was written last; "" before the first.
	shown string
}

// changed draws the cluster if it looks otherwise than before. A cluster that cannot be read any more is tried again.
func (l *liveNodes) changed(ctx context.Context) error {
	for {
		began := l.host.Now()
		text, err := l.text(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && l.shown == "" {
			return err
		}
		if err == nil && text != l.shown {
			l.show(began, text)
			l.shown = text
		}
		if err != nil {
			l.showProblem(began, err)
		}
		errFlush := l.flush()
		if errFlush != nil {
			return errFlush
		}
		errPause := l.host.Pause(ctx, max(livePause, liveShare*l.host.Now().Sub(began)))
		if err == nil || errPause != nil {
			return errPause
		}
	}
}

// text is what nodes writes now.
func (l *liveNodes) text(ctx context.Context) (string, error) {
	style, err := l.style(l.color)
	if err != nil {
		return "", err
	}
	s, err := l.selectedNodes(ctx, nil)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	s.printNodes(&printer{out: &b}, l.output == wide, style)
	return b.String(), nil
}

// show writes a text with the time: in place of the one before on a terminal, and otherwise below it.
func (l *liveNodes) show(now time.Time, text string) {
	head := now.UTC().Format(time.RFC3339) + "\n"
	t := l.terminal()
	switch {
	case t.Escapes && l.shown == "":
		l.out.print(toTop + clearScreen)
		l.out.print(t.redraw(head + "\n" + text))
	case t.Escapes:
		l.out.print(t.redraw(head + "\n" + text))
	case l.shown == "":
		l.out.print(head + "\n" + text)
	default:
		l.out.print("\n" + head + "\n" + text)
	}
}

// showProblem says that what was shown last is not current.
func (l *liveNodes) showProblem(now time.Time, err error) {
	var b strings.Builder
	problem := printer{out: &b}
	problem.printf("%s the cluster cannot be read, trying again: %v\n", now.UTC().Format(time.RFC3339), err)
	t := l.terminal()
	if t.Escapes {
		l.out.print(t.redraw(b.String() + "as it was before:\n" + l.shown))
		return
	}
	l.out.print(b.String())
}
