package api

import "github.com/prometheus/client_golang/prometheus"

// plant shows at each scrape what each trunk can take, and what of the SIP of
// calls could not be kept.
type plant struct {
	s                   *Server
	up, channels, inUse *prometheus.Desc
	lost                *prometheus.Desc
}

func newPlant(s *Server) *plant {
	of := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"trunk"}, nil)
	}
	return &plant{
		s:        s,
		up:       of("dialer_trunk_up", "1 while the trunk takes calls."),
		channels: of("dialer_trunk_channels", "The most calls at once."),
		inUse:    of("dialer_trunk_channels_in_use", "Calls from INVITE to end."),
		lost:     prometheus.NewDesc("dialer_sip_ladder_lost_total", "SIP messages and ladders for which there was no room.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (p *plant) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.up, p.channels, p.inUse, p.lost} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (p *plant) Collect(out chan<- prometheus.Metric) {
	if p.s.ladders != nil {
		out <- prometheus.MustNewConstMetric(p.lost, prometheus.CounterValue, float64(p.s.ladders.Lost()))
	}
	for id, c := range p.s.trunksNow() {
		up := 0.0
		if c.Up {
			up = 1
		}
		for d, v := range map[*prometheus.Desc]float64{p.up: up, p.channels: float64(c.Channels), p.inUse: float64(c.InUse)} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, string(id))
		}
	}
}
