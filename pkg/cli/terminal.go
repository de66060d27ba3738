// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"corepin.dev/corepin/pkg/nodemap"
)

// The values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// What a terminal does: it goes to its first line, clears the rest of a line, or of the screen.
const (
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearScreen = "\x1b[J"
)

// escapes are the escape sequences that nodemap writes.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// terminal is the terminal that the answer goes to, as it is now.
func (c *call) terminal() Terminal {
	if c.host.Terminal == nil {
		return Terminal{}
	}
	return c.host.Terminal()
}

// style is how maps are drawn with a value of --color.
func (c *call) style(color string) (nodemap.Style, error) {
	t := c.terminal()
	style := nodemap.Style{Width: t.Width}
	switch color {
	case colorAuto:
		style.Color = t.Escapes && !c.host.NoColor
	case colorAlways:
		style.Color = true
	case colorNever:
	default:
		return style, fmt.Errorf("--color is %q; want auto, always or never", color)
	}
	return style, nil
}

// redraw is a text that stands on the screen of a terminal in place of the one before. What does not fit is left out, and the last
// line says so.
func (t Terminal) redraw(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	shown := len(lines)
	if t.Height > 0 && t.rowsOf(lines) >= t.Height {
		shown = 0
		for rows := 0; rows+t.rows(lines[shown]) < t.Height-1; shown++ {
			rows += t.rows(lines[shown])
		}
	}
	var b strings.Builder
	b.WriteString(toTop)
	for _, line := range lines[:shown] {
		b.WriteString(line + clearLine + "\n")
	}
	if shown < len(lines) {
		fmt.Fprintf(&b, "... %d more lines: narrow with -l%s\n", len(lines)-shown, clearLine)
	}
	b.WriteString(clearScreen)
	return b.String()
}

// rows is how many rows of the terminal a line takes.
func (t Terminal) rows(line string) int {
	length := utf8.RuneCountInString(escapes.ReplaceAllString(line, ""))
	if t.Width == 0 || length <= t.Width {
		return 1
	}
	return (length + t.Width - 1) / t.Width
}

func (t Terminal) rowsOf(lines []string) int {
	sum := 0
	for _, line := range lines {
		sum += t.rows(line)
	}
	return sum
}
