package evaluate

import (
	"fmt"
	"io"
	"strings"
	"time"

	"dialer/amd"
)

// The plot: its size, the area of the curves and the seconds shown.
const (
	plotWidth, plotHeight = 760, 420
	plotLeft, plotTop     = 60, 40
	areaWidth, areaHeight = 500, 320
	plotSeconds           = 10
)

// Plot draws how verdicts come in as time passes since the answer, and the
// errors among them, as SVG.
func (r *Report) Plot(w io.Writer) error {
	live := func(v amd.Verdict) bool { return v.Live() }
	machine := func(v amd.Verdict) bool { return v == amd.Machine || v == amd.Screening }
	curves := []struct {
		name, label, colour string
		hit                 func(amd.Verdict) bool
	}{
		{"people connected", "human", "#2a7f3f", live},
		{"people called something else", "human", "#c0392b", func(v amd.Verdict) bool { return !v.Live() }},
		{"machines found", "machine", "#1f5fa8", machine},
		{"machines connected", "machine", "#d98e04", live},
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/><text x="%d" y="22" font-size="15">Verdicts by time since the answer</text>`+"\n", plotWidth, plotHeight, plotLeft)
	for i := range 6 {
		y := plotTop + areaHeight*i/5
		fmt.Fprintf(&b, `<path d="M%d %dh%d" stroke="#ddd"/><text x="%d" y="%d" text-anchor="end">%d</text>`+"\n", plotLeft, y, areaWidth, plotLeft-6, y+4, 100-20*i)
	}
	for s := 0; s <= plotSeconds; s += 2 {
		x := plotLeft + areaWidth*s/plotSeconds
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%d</text>`+"\n", x, plotTop+areaHeight+18, s)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">seconds</text>`+"\n", plotLeft+areaWidth/2, plotTop+areaHeight+36)
	fmt.Fprintf(&b, `<text x="16" y="%d" transform="rotate(-90 16 %d)" text-anchor="middle">share, %%</text>`+"\n", plotTop+areaHeight/2, plotTop+areaHeight/2)
	for i, c := range curves {
		var path strings.Builder
		last := 0.0
		for x := 0; x <= areaWidth; x += 2 {
			at := time.Duration(x) * plotSeconds * time.Second / areaWidth
			last = 100 * r.share(
				func(o *Outcome) bool { return o.Label == c.label },
				func(o *Outcome) bool { return o.Heard.Decided <= at && c.hit(o.Heard.Verdict) }).Rate
			fmt.Fprintf(&path, "%c%d %.1f", "ML"[min(x, 1)], plotLeft+x, plotTop+areaHeight*(1-last/100))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), c.colour)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s, %.1f %%</text>`+"\n", plotLeft+areaWidth+10, plotTop+14+20*i, c.colour, c.name, last)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
