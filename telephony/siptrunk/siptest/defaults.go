package siptest

import "time"

// fillDefaults gives each field that the file leaves out its kind's default.
func (g *Group) fillDefaults() {
	if g.Name == "" {
		g.Name = string(g.Kind)
	}
	fill := func(d *Distribution, value Distribution) {
		if d.zero() {
			*d = value
		}
	}
	switch g.Kind {
	case NoAnswer:
		fill(&g.Ring, Fixed(60*time.Second))
	case Slow:
		fill(&g.PostDial, Uniform(4*time.Second, 8*time.Second))
		fill(&g.Ring, Uniform(14*time.Second, 24*time.Second))
		fill(&g.SpeakAfter, Uniform(1500*time.Millisecond, 3*time.Second))
	case Machine:
		fill(&g.Ring, Distribution{Dist: "gamma", Mean: 16 * time.Second, SD: 5 * time.Second, Min: 3 * time.Second, Max: 28 * time.Second})
		fill(&g.SpeakAfter, Uniform(300*time.Millisecond, 1200*time.Millisecond))
		fill(&g.Talk, Uniform(30*time.Second, 60*time.Second))
	case Fax:
		fill(&g.Ring, Uniform(2*time.Second, 8*time.Second))
		fill(&g.Talk, Uniform(20*time.Second, 40*time.Second))
	case Busy, Invalid, Congestion:
		// They never ring.
		fill(&g.PostDial, Uniform(300*time.Millisecond, 2*time.Second))
		fill(&g.Ring, Fixed(0))
	case Announcement:
		fill(&g.Ring, Fixed(0))
	case Rejected:
		fill(&g.Ring, Uniform(2*time.Second, 6*time.Second))
	case HangUp:
		fill(&g.Talk, Uniform(300*time.Millisecond, 1500*time.Millisecond))
	}
	fill(&g.PostDial, Uniform(400*time.Millisecond, 2*time.Second))
	fill(&g.Ring, Distribution{Dist: "gamma", Mean: 9 * time.Second, SD: 5 * time.Second, Min: time.Second, Max: 28 * time.Second})
	fill(&g.SpeakAfter, Distribution{Dist: "lognormal", Mean: 600 * time.Millisecond, SD: 350 * time.Millisecond, Min: 150 * time.Millisecond, Max: 2500 * time.Millisecond})
	fill(&g.Patience, Distribution{Dist: "gamma", Mean: 7 * time.Second, SD: 2500 * time.Millisecond, Min: 2500 * time.Millisecond, Max: 15 * time.Second})
	fill(&g.Talk, Distribution{Dist: "gamma", Mean: 60 * time.Second, SD: 50 * time.Second, Min: 4 * time.Second, Max: 8 * time.Minute})
	if len(g.Audio) == 0 {
		g.Audio = defaultAudio[g.Kind]
	}
	if g.Status == 0 {
		g.Status = finalResponses[g.Kind].status
	}
	if g.Q850 == 0 && g.Status >= 300 {
		g.Q850 = finalResponses[g.Kind].q850
	}
}

var greetings = []string{
	"hello-1", "hello-2", "hello-3", "hello-4", "hello-5", "hello-6", "hello-7", "hello-8",
}

var defaultAudio = map[Kind][]string{
	Human:        greetings,
	Slow:         greetings,
	Machine:      {"voicemail-1", "voicemail-2", "voicemail-3", "voicemail-4", "voicemail-5"},
	Announcement: {"announcement-1", "announcement-2"},
}

// finalResponses are the refusals of the kinds that refuse, with the ISDN
// cause (ITU-T Q.850) that a carrier's gateway adds in a Reason header.
var finalResponses = map[Kind]struct{ status, q850 int }{
	Busy:         {486, 17},
	NoAnswer:     {480, 19},
	Invalid:      {404, 1},
	Announcement: {404, 1},
	Rejected:     {603, 21},
	Congestion:   {503, 34},
}
