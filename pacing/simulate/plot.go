package simulate

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// A Panel is one diagram of a plot.
type Panel struct {
	title, across, up string
	x, y              axis
	curves            []curve
	across0           float64 // a line from bottom to top, such as the cap; 0: none
	up0               float64 // a line across; 0: none
}

type axis struct{ from, to, step float64 }

type curve struct {
	name   string
	points []point
}

type point struct {
	x, y, dx, dy float64 // and standard errors
	label        string
}

// Occupancy shows what each policy reaches against what it abandons, a point for
// each team, with standard errors.
func Occupancy(title string, all []Summary) Panel {
	p := Panel{title: title, across: "abandoned, %", up: "occupancy, %"}
	least, most, right := 100.0, 0.0, 0.0
	one := true
	for _, s := range all {
		one = one && s.Agents == all[0].Agents
	}
	for _, s := range all {
		pt := point{x: 100 * s.AbandonRate.Value, y: 100 * s.Utilisation.Value, dx: 100 * s.AbandonRate.SE, dy: 100 * s.Utilisation.SE}
		if !one {
			pt.label = fmt.Sprint(s.Agents)
		}
		least, most = min(least, pt.y), max(most, pt.y)
		right = max(right, pt.x, 100*s.Cap)
		p.across0 = 100 * s.Cap
		p.add(s.Policy, pt)
	}
	p.x = round(0, right*1.08, 8)
	p.y = round(least-2, min(most+2, 100), 8)
	return p
}

// OverTime shows two panels through the shift: occupancy, and what was abandoned
// in the hour up to then.
func OverTime(title string, all []Summary) []Panel {
	occupancy := Panel{title: title, across: "hours", up: "occupancy, %"}
	abandoned := Panel{title: "Abandoned in the hour up to then", across: "hours", up: "abandoned, %"}
	least, most, hours := 100.0, 0.0, 0.0
	for _, s := range all {
		var busy, lost []point
		for i, x := range s.Slices {
			at := float64(i+1) * SliceSeconds / 3600
			hours = max(hours, at)
			if x.Busy+x.Idle > 0 {
				y := 100 * x.Busy / (x.Busy + x.Idle)
				busy = append(busy, point{x: at, y: y})
				least = min(least, y)
			}
			hour := Slice{}
			for _, h := range s.Slices[max(0, i+1-3600/SliceSeconds) : i+1] {
				hour.Answered, hour.Abandoned = hour.Answered+h.Answered, hour.Abandoned+h.Abandoned
			}
			if hour.Answered > 0 {
				y := 100 * float64(hour.Abandoned) / float64(hour.Answered)
				lost = append(lost, point{x: at, y: y})
				most = max(most, y, 100*s.Cap)
			}
		}
		occupancy.add(s.Policy, busy...)
		abandoned.add(s.Policy, lost...)
		abandoned.up0 = 100 * s.Cap
	}
	occupancy.x, abandoned.x = round(0, hours, 9), round(0, hours, 9)
	occupancy.x.to, abandoned.x.to = hours, hours
	occupancy.y, abandoned.y = round(least, 100, 6), round(0, most*1.05, 6)
	return []Panel{occupancy, abandoned}
}

func (p *Panel) add(name string, points ...point) {
	for i := range p.curves {
		if p.curves[i].name == name {
			p.curves[i].points = append(p.curves[i].points, points...)
			return
		}
	}
	p.curves = append(p.curves, curve{name, points})
}

// round is an axis in round steps, at most so many.
func round(from, to float64, most int) axis {
	if !(to > from) {
		to = from + 1
	}
	step := math.Pow(10, math.Floor(math.Log10((to-from)/float64(most))))
	for _, f := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (to-from)/step <= float64(most) {
			break
		}
		step *= f
	}
	return axis{math.Floor(from/step) * step, math.Ceil(to/step-1e-9) * step, step}
}

// Sizes of a panel in pixels.
const (
	panelWidth, panelHeight = 760, 340
	marginLeft, marginRight = 60, 170
	marginTop, marginBottom = 36, 46
)

// colours are told apart by people who see no red, too.
var colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#555555", "#000000"}

// Draw writes the panels, one below the other, as SVG.
func Draw(w io.Writer, panels ...Panel) error {
	var b strings.Builder
	height := panelHeight * len(panels)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		panelWidth, height, panelWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", panelWidth, height)
	for i := range panels {
		fmt.Fprintf(&b, `<g transform="translate(0 %d)">`+"\n", i*panelHeight)
		panels[i].draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Panel) draw(b *strings.Builder) {
	left, right := float64(marginLeft), float64(panelWidth-marginRight)
	top, bottom := float64(marginTop), float64(panelHeight-marginBottom)
	x := func(v float64) float64 { return left + (v-p.x.from)/(p.x.to-p.x.from)*(right-left) }
	y := func(v float64) float64 {
		return min(max(bottom-(v-p.y.from)/(p.y.to-p.y.from)*(bottom-top), top-4), bottom+4)
	}
	text := func(x, y float64, anchor, extra, s string) {
		if s == "" {
			return
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, extra, html.EscapeString(s))
	}
	line := func(x1, y1, x2, y2 float64, style string) {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" %s/>`+"\n", x1, y1, x2, y2, style)
	}
	text(left, 22, "start", ` font-size="14"`, p.title)
	for v := p.y.from; v <= p.y.to+1e-9; v += p.y.step {
		line(left, y(v), right, y(v), `stroke="#dddddd"`)
		text(left-6, y(v)+4, "end", "", fmt.Sprintf("%.4g", v))
	}
	for v := p.x.from; v <= p.x.to+1e-9; v += p.x.step {
		line(x(v), bottom, x(v), bottom+4, `stroke="#888888"`)
		text(x(v), bottom+17, "middle", "", fmt.Sprintf("%.4g", v))
	}
	line(left, bottom, right, bottom, `stroke="#888888"`)
	text((left+right)/2, bottom+36, "middle", "", p.across)
	text(0, 0, "middle", fmt.Sprintf(` transform="translate(16 %.1f) rotate(-90)"`, (top+bottom)/2), p.up)
	const cap = `stroke="#c00000" stroke-dasharray="5 4"`
	if p.across0 > 0 {
		line(x(p.across0), top, x(p.across0), bottom, cap)
	}
	if p.up0 > 0 {
		line(left, y(p.up0), right, y(p.up0), cap)
	}
	for i, c := range p.curves {
		colour := colours[i%len(colours)]
		if len(c.points) > 1 {
			var path []string
			for _, pt := range c.points {
				path = append(path, fmt.Sprintf("%.1f,%.1f", x(pt.x), y(pt.y)))
			}
			fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", colour, strings.Join(path, " "))
		}
		for _, pt := range c.points {
			if pt.dx > 0 || pt.dy > 0 || pt.label != "" || len(c.points) == 1 {
				style := fmt.Sprintf(`stroke="%s"`, colour)
				line(x(pt.x-pt.dx), y(pt.y), x(pt.x+pt.dx), y(pt.y), style)
				line(x(pt.x), y(pt.y-pt.dy), x(pt.x), y(pt.y+pt.dy), style)
				fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", x(pt.x), y(pt.y), colour)
				text(x(pt.x)+6, y(pt.y)-5, "start", ` font-size="10"`, pt.label)
			}
		}
		at := top + 10 + 18*float64(i)
		line(right+12, at-4, right+32, at-4, fmt.Sprintf(`stroke="%s" stroke-width="3"`, colour))
		text(right+38, at, "start", "", c.name)
	}
}
