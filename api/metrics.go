package api

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"dialer"
	"dialer/agents"
)

// metrics counts what the event log tells, so that the figures agree with the
// reports, and shows how agents are now. Labels are campaign, trunk and cause
// only: a number, a lead or an agent in a label would make one series each.
type metrics struct {
	registry *prometheus.Registry

	placed, answered, connected, abandoned *prometheus.CounterVec
	ended, excluded                        *prometheus.CounterVec
	ghosts                                 *prometheus.CounterVec
	connectDelay                           *prometheus.HistogramVec
	mos, agentMOS                          *prometheus.HistogramVec
	seq                                    prometheus.Gauge
}

func newMetrics(s *Server) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "dialer", Name: name, Help: help}, labels)
	}
	quality := func(name, help, label string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "dialer", Name: name, Help: help,
			// The steps of user satisfaction (ITU-T G.107 Annex B): 4.34 very satisfied,
			// 4.03 satisfied, 3.6 some and 3.1 many dissatisfied, 2.58 nearly all.
			Buckets: []float64{1, 2, 2.58, 3.1, 3.6, 3.8, 4.03, 4.2, 4.34, 4.5},
		}, []string{label})
	}
	m := &metrics{
		ghosts:    counter("calls_ghosted_total", "Attempts answered after we had given them up; the carrier bills them.", "campaign"),
		mos:       quality("call_mos", "Estimated quality of what came from the person, once a call.", "trunk"),
		agentMOS:  quality("agent_mos", "Estimated quality of what came from the agent, once a talk.", "campaign"),
		registry:  prometheus.NewRegistry(),
		placed:    counter("calls_placed_total", "Attempts committed.", "campaign", "trunk"),
		answered:  counter("calls_answered_total", "Attempts answered, by whomever.", "campaign"),
		connected: counter("calls_connected_total", "Persons connected with an agent.", "campaign"),
		abandoned: counter("calls_abandoned_total", "Persons whom no agent took in time, by class.", "campaign", "cause"),
		ended:     counter("calls_ended_total", "Attempts over, by outcome.", "campaign", "cause"),
		excluded:  counter("leads_excluded_total", "Calls that a rule forbade, by rule.", "campaign", "cause"),
		connectDelay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "dialer", Name: "answer_to_agent_seconds", Help: "From the answer to two-way audio with an agent.",
			Buckets:                     []float64{.1, .2, .3, .5, .75, 1, 1.5, 2, 3, 5, 10},
			NativeHistogramBucketFactor: 1.1,
		}, []string{"campaign"}),
		seq: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "dialer", Name: "event_seq", Help: "The last event counted."}),
	}
	m.registry.MustRegister(m.placed, m.answered, m.connected, m.abandoned, m.ended, m.excluded, m.connectDelay, m.seq, m.ghosts, m.mos, m.agentMOS,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newCrew(s), newPlant(s))
	return m
}

// metricsBatch is how many events are counted at once.
const metricsBatch = 1000

// metricsRetry is the pause after the log could not be read.
const metricsRetry = time.Second

// follow counts events from now on, until ctx ends.
func (s *Server) follow(ctx context.Context) error {
	after, begun := int64(0), false
	for ctx.Err() == nil {
		var err error
		if !begun {
			after, err = s.store.LastEvent(ctx)
			begun = err == nil
		} else {
			after, err = s.metrics.read(ctx, s.events, after)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Warn("metrics: the event log could not be read; trying again", "err", err)
		select {
		case <-time.After(metricsRetry):
		case <-ctx.Done():
		}
	}
	return nil
}

// read counts the events after one, waiting for the first.
func (m *metrics) read(ctx context.Context, log dialer.EventLog, after int64) (int64, error) {
	found, err := log.ReadEvents(ctx, after, metricsBatch)
	if err != nil {
		return after, fmt.Errorf("read events: %w", err)
	}
	for _, e := range found {
		m.count(e)
		after = e.Seq
	}
	m.seq.Set(float64(after))
	if len(found) == 0 {
		err = log.WaitEvents(ctx, after)
	}
	return after, err
}

func (m *metrics) count(e dialer.Event) {
	c := string(e.Campaign)
	switch f := e.Fact.(type) {
	case dialer.CallPlaced:
		m.placed.WithLabelValues(c, string(f.Trunk)).Inc()
	case dialer.CallAnswered:
		m.answered.WithLabelValues(c).Inc()
	case dialer.CallConnected:
		m.connected.WithLabelValues(c).Inc()
		m.connectDelay.WithLabelValues(c).Observe(float64(f.AnswerToAgentMS) / 1000)
	case dialer.CallAbandoned:
		m.abandoned.WithLabelValues(c, f.Class).Inc()
	case dialer.CallEnded:
		m.ended.WithLabelValues(c, f.Outcome).Inc()
		if f.Ghost {
			m.ghosts.WithLabelValues(c).Inc()
		}
		if f.MOS > 0 {
			m.mos.WithLabelValues(string(f.Trunk)).Observe(f.MOS)
		}
		if f.AgentMOS > 0 {
			m.agentMOS.WithLabelValues(c).Observe(f.AgentMOS)
		}
	case dialer.CallGhosted:
		m.ghosts.WithLabelValues(c).Inc()
	case dialer.LeadExcluded:
		m.excluded.WithLabelValues(c, f.Rule).Inc()
	}
}

// crew shows at each scrape how many agents of each campaign are in which
// state, and what is open at this server.
type crew struct {
	s       *Server
	states  map[agents.State]*prometheus.Desc
	streams *prometheus.Desc
}

func newCrew(s *Server) *crew {
	f := &crew{
		s: s, states: map[agents.State]*prometheus.Desc{},
		streams: prometheus.NewDesc("dialer_event_streams", "Open event streams.", nil, nil),
	}
	for _, state := range []agents.State{agents.NotReady, agents.Ready, agents.Reserved, agents.Talking, agents.WrapUp} {
		f.states[state] = prometheus.NewDesc("dialer_agents_"+string(state), "Agents who are "+string(state)+", once for each of their campaigns.", []string{"campaign"}, nil)
	}
	return f
}

// Describe implements prometheus.Collector.
func (f *crew) Describe(out chan<- *prometheus.Desc) {
	out <- f.streams
	for _, d := range f.states {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (f *crew) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(f.streams, prometheus.GaugeValue, float64(len(f.s.streams)))
	if f.s.agents == nil {
		return
	}
	count := map[dialer.CampaignID]map[agents.State]int{}
	for _, snap := range f.s.agents.List() {
		for _, c := range snap.Campaigns {
			if count[c] == nil {
				count[c] = map[agents.State]int{}
			}
			count[c][snap.State]++
		}
	}
	for c, by := range count {
		for state, d := range f.states {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(by[state]), string(c))
		}
	}
}
