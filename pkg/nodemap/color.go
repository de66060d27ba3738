// SPDX-License-Identifier: Apache-2.0

package nodemap

import (
	"fmt"
	"strings"
)

// palette are the colours of holders, in their order and then from the beginning again: numbers of xterm's 256 colours. On black
// and on white each has a contrast of 4 or more, so that they can be read in dark and in light terminals.
var palette = []int{31, 130, 64, 133, 63, 162, 29, 98}

// reservedColor is a grey with that contrast nearly.
const reservedColor = 244

// letter is a mark as it is written. The shared pool has no colour, so that what is held stands out.
func (s Style) letter(mark rune) string {
	if !s.Color {
		return string(mark)
	}
	switch mark {
	case sharedMark, otherMark:
		return string(mark)
	case clashMark:
		return "\x1b[1;7m!\x1b[0m" // bold, with the terminal's two colours exchanged
	case reservedMark:
		return colored(reservedColor, mark)
	}
	return colored(palette[strings.IndexRune(letters, mark)%len(palette)], mark)
}

func colored(color int, mark rune) string { return fmt.Sprintf("\x1b[38;5;%dm%c\x1b[0m", color, mark) }
