package simulate

// What happens next.
type what uint8

const (
	tick       what = iota // every second
	decide                 // a decision put off
	ended                  // busy, invalid, rang out
	answered               // by a person or a machine
	classified             // detection is done
	expired                // the person has waited long enough
	talked                 // n is the agent
	wrapped
	back // from a break, or to work at all
)

type event struct {
	at   float64
	turn uint64 // events of the same time in the order in which they were set
	what what
	call uint64
	n    int
}

// An agenda is a heap of events by time.
type agenda []event

func (a agenda) before(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].turn < a[j].turn
}

func (a *agenda) add(e event) {
	*a = append(*a, e)
	h := *a
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.before(i, up) {
			return
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (a *agenda) next() event {
	h := *a
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	*a = h
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h.before(c, least) {
				least = c
			}
		}
		if least == i {
			return first
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
