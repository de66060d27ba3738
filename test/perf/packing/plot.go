// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// The plot's measures, in pixels.
const (
	plotWidth, panelHeight = 900, 300
	left, right            = 60, 220
	above, below           = 40, 50
)

// colours are those of contenders, in order: told apart by people who do not see red and green, too.
var colours = []string{"#999999", "#555555", "#0072b2", "#e69f00", "#cc79a7"}

// plot draws the stranded CPUs over time, a panel for each class of traces.
func plot(results []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, panelHeight*len(classes))
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, c := range classes {
		fmt.Fprintf(&b, `<g transform="translate(0,%d)">`+"\n", i*panelHeight)
		panel(&b, c.name, results)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func panel(b *strings.Builder, class string, results []result) {
	end, most := phases[len(phases)-1].until, 1.0
	for i := range results {
		for _, s := range results[i].curve {
			if results[i].class == class {
				most = max(most, s.stranded)
			}
		}
	}
	x := func(at float64) float64 { return left + at/end*(plotWidth-left-right) }
	y := func(stranded float64) float64 { return panelHeight - below - stranded/most*(panelHeight-above-below) }
	fmt.Fprintf(b, `<text x="%d" y="20" font-size="14">stranded CPUs over time, trace %s</text>`+"\n", left, class)
	fmt.Fprintf(b, `<text x="%.0f" y="%d">time, in mean lifetimes of a VM</text>`+"\n", x(end/2)-70, panelHeight-12)
	for at := 0.0; at <= end; at++ {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`+"\n", x(at), panelHeight-below+16, at)
	}
	for i := range 5 {
		value := most * float64(i) / 4
		fmt.Fprintf(b, `<line x1="%d" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			left, x(end), y(value), y(value), left-6, y(value)+4, value)
	}
	for _, p := range phases {
		if p.name != "" {
			fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#777777">asking for %s</text>`+"\n", x(p.until-0.6), above-6, p.name)
		}
	}
	drawn := 0
	for i := range results {
		if r := &results[i]; r.class == class {
			curve(b, r, colours[drawn%len(colours)], drawn, x, y)
			drawn++
		}
	}
}

func curve(b *strings.Builder, r *result, colour string, nth int, x, y func(float64) float64) {
	points := make([]string, 0, len(r.curve))
	for _, s := range r.curve {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x(s.at), y(s.stranded)))
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", colour, strings.Join(points, " "))
	at := above + 20*nth
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s</text>`+"\n",
		plotWidth-right+15, plotWidth-right+35, at, at, colour, plotWidth-right+40, at+4, r.contender)
}
