package api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
	"dialer/simulation"
	"dialer/telephony"
)

// memory is a Store, an event log and a Scheduler for tests of this package.
type memory struct {
	mu        sync.Mutex
	users     map[dialer.UserID]dialer.User
	passwords map[dialer.UserID]string
	keys      map[dialer.KeyID]dialer.APIKey
	hashes    map[dialer.KeyID][]byte
	trunks    map[dialer.TrunkID]telephony.Trunk
	versions  map[dialer.TrunkID]int
	campaigns map[dialer.CampaignID]campaign.Campaign
	lists     map[dialer.ListID]campaign.List
	leads     map[dialer.LeadID]campaign.Lead
	imports   map[dialer.ImportID]campaign.Import
	rejects   map[dialer.ImportID][]campaign.Reject
	roster    map[dialer.AgentID]agents.Agent
	ha1       map[dialer.AgentID]string
	dnc       map[string]campaign.DNCEntry
	assets    map[string][]byte
	calls     map[dialer.CallID]campaign.Call
	answers   map[string]claim
	jobs      map[dialer.SimulationID]simulation.Job
	events    []dialer.Event
	more      chan struct{} // closed and renewed with each event
	woken     int
	fail      error // of the next GetCampaign
}

type claim struct {
	body   []byte
	answer *dialer.Answer
}

func newMemory() *memory {
	return &memory{
		users: map[dialer.UserID]dialer.User{}, passwords: map[dialer.UserID]string{},
		keys: map[dialer.KeyID]dialer.APIKey{}, hashes: map[dialer.KeyID][]byte{},
		trunks: map[dialer.TrunkID]telephony.Trunk{}, versions: map[dialer.TrunkID]int{},
		campaigns: map[dialer.CampaignID]campaign.Campaign{}, lists: map[dialer.ListID]campaign.List{},
		leads: map[dialer.LeadID]campaign.Lead{}, imports: map[dialer.ImportID]campaign.Import{},
		rejects: map[dialer.ImportID][]campaign.Reject{}, roster: map[dialer.AgentID]agents.Agent{},
		ha1: map[dialer.AgentID]string{}, dnc: map[string]campaign.DNCEntry{}, assets: map[string][]byte{},
		calls: map[dialer.CallID]campaign.Call{}, answers: map[string]claim{}, jobs: map[dialer.SimulationID]simulation.Job{}, more: make(chan struct{}),
	}
}

var _ Store = (*memory)(nil)

func find[K comparable, V any](m *memory, in map[K]V, id K) (V, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := in[id]
	if !ok {
		return v, dialer.Errorf(dialer.NotFound, "there is no %v", id)
	}
	return v, nil
}

func put[K comparable, V any](m *memory, in map[K]V, id K, v V) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in[id] = v
	return nil
}

// after returns what follows an id, in the order of ids.
func after[K cmp.Ordered, V any](m *memory, in map[K]V, id K, limit int, want func(V) bool) ([]V, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []V
	for _, k := range slices.Sorted(maps.Keys(in)) {
		if k > id && (want == nil || want(in[k])) && len(out) < limit {
			out = append(out, in[k])
		}
	}
	return out, nil
}

func remove[K comparable, V any](m *memory, in map[K]V, id K) error {
	if _, err := find(m, in, id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(in, id)
	return nil
}

func (m *memory) CreateUser(_ context.Context, u dialer.User, hash string) error {
	put(m, m.passwords, u.ID, hash)
	return put(m, m.users, u.ID, u)
}

func (m *memory) GetUser(_ context.Context, id dialer.UserID) (dialer.User, error) {
	return find(m, m.users, id)
}

func (m *memory) UserByName(_ context.Context, name string) (dialer.User, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.users {
		if u.Name == name {
			return u, m.passwords[u.ID], nil
		}
	}
	return dialer.User{}, "", dialer.Errorf(dialer.NotFound, "no such user")
}

func (m *memory) ListUsers(_ context.Context, id dialer.UserID, limit int) ([]dialer.User, error) {
	return after(m, m.users, id, limit, nil)
}
func (m *memory) DeleteUser(_ context.Context, id dialer.UserID) error { return remove(m, m.users, id) }
func (m *memory) CreateAPIKey(_ context.Context, k dialer.APIKey, hash []byte) error {
	put(m, m.hashes, k.ID, hash)
	return put(m, m.keys, k.ID, k)
}

func (m *memory) APIKey(_ context.Context, id dialer.KeyID) (dialer.User, []byte, error) {
	k, err := find(m, m.keys, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	u := dialer.User{Name: k.Name, Role: k.Role}
	if k.Role == dialer.RoleAgent {
		u.Agent = "agt_1"
	}
	return u, m.hashes[id], err
}

func (m *memory) ListAPIKeys(_ context.Context, id dialer.KeyID, limit int) ([]dialer.APIKey, error) {
	return after(m, m.keys, id, limit, nil)
}

func (m *memory) RevokeAPIKey(_ context.Context, id dialer.KeyID) error {
	return remove(m, m.keys, id)
}

func (m *memory) CreateTrunk(_ context.Context, t telephony.Trunk) error {
	put(m, m.versions, t.ID, 1)
	return put(m, m.trunks, t.ID, t)
}

func (m *memory) GetTrunk(_ context.Context, id dialer.TrunkID) (telephony.Trunk, int, error) {
	t, err := find(m, m.trunks, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	return t, m.versions[id], err
}

func (m *memory) ListTrunks(context.Context) ([]telephony.Trunk, error) {
	return after(m, m.trunks, "", 1000, nil)
}

func (m *memory) UpdateTrunk(_ context.Context, version int, t telephony.Trunk) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.versions[t.ID] != version {
		return dialer.Errorf(dialer.Conflict, "changed")
	}
	m.versions[t.ID]++
	m.trunks[t.ID] = t
	return nil
}

func (m *memory) DeleteTrunk(_ context.Context, id dialer.TrunkID) error {
	return remove(m, m.trunks, id)
}

func (m *memory) CreateCampaign(_ context.Context, s campaign.Settings, _ string, now time.Time) (campaign.Campaign, error) {
	c := campaign.Campaign{ID: dialer.NewCampaignID(), State: campaign.Draft, Version: 1, CreatedAt: now, Settings: s}
	return c, put(m, m.campaigns, c.ID, c)
}

func (m *memory) GetCampaign(_ context.Context, id dialer.CampaignID) (campaign.Campaign, error) {
	if m.fail != nil {
		return campaign.Campaign{}, m.fail
	}
	return find(m, m.campaigns, id)
}

func (m *memory) ListCampaigns(_ context.Context, id dialer.CampaignID, limit int) ([]campaign.Campaign, error) {
	return after(m, m.campaigns, id, limit, nil)
}

func (m *memory) UpdateCampaign(_ context.Context, id dialer.CampaignID, version int, s campaign.Settings, _ string, _ time.Time) (campaign.Campaign, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.campaigns[id]
	if c.Version != version {
		return c, dialer.Errorf(dialer.Conflict, "changed")
	}
	c.Version++
	c.Settings = s
	m.campaigns[id] = c
	return c, nil
}

func (m *memory) SetCampaignState(_ context.Context, id dialer.CampaignID, from []campaign.State, to campaign.State, _, _ string, now time.Time) (campaign.Campaign, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.campaigns[id]
	if !slices.Contains(from, c.State) {
		return c, dialer.Errorf(dialer.Conflict, "the campaign is %s", c.State)
	}
	c.State, c.StartedAt = to, now
	c.Version++
	m.campaigns[id] = c
	return c, nil
}

func (m *memory) LeadsLeft(_ context.Context, id dialer.CampaignID, _ time.Time) (n campaign.LeadCounts, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leads {
		if l.Campaign == id {
			n.Total++
			n.DueNow++
		}
	}
	return n, nil
}

func (m *memory) OutcomeCounts(context.Context, dialer.CampaignID) (map[campaign.Outcome]int, error) {
	return nil, nil
}

func (m *memory) AbandonTally(context.Context, dialer.CampaignID, time.Time) (compliance.Tally, error) {
	return compliance.Tally{}, nil
}

func (m *memory) CreateList(_ context.Context, l campaign.List) error {
	return put(m, m.lists, l.ID, l)
}

func (m *memory) GetList(_ context.Context, id dialer.ListID) (campaign.List, error) {
	return find(m, m.lists, id)
}

func (m *memory) ListLists(_ context.Context, c dialer.CampaignID, id dialer.ListID, limit int) ([]campaign.List, error) {
	return after(m, m.lists, id, limit, func(l campaign.List) bool { return c == "" || l.Campaign == c })
}

func (m *memory) ImportLeads(_ context.Context, id dialer.ListID, rows iter.Seq2[campaign.Row, error], update bool, now time.Time) (campaign.Import, error) {
	l, _ := find(m, m.lists, id)
	i := campaign.Import{ID: dialer.NewImportID(), List: id, StartedAt: now, EndedAt: now}
	fresh := map[dialer.Number]campaign.Lead{}
	var rejects []campaign.Reject
	for row, err := range rows {
		if err != nil {
			if dialer.CodeOf(err) != "" {
				return campaign.Import{ID: i.ID, List: id, Error: err.Error()}, nil
			}
			return campaign.Import{}, err
		}
		i.Rows++
		if row.Reject != nil {
			i.Rejected++
			rejects = append(rejects, *row.Reject)
			continue
		}
		old, _ := m.ListLeads(nil, id, campaign.LeadFilter{Number: row.Lead.Number}, "", 1)
		_, twice := fresh[row.Lead.Number]
		if len(old) > 0 || twice {
			i.Skipped++
			continue
		}
		lead := row.Lead
		lead.ID, lead.List, lead.Campaign, lead.State = dialer.NewLeadID(), id, l.Campaign, campaign.Dialable
		fresh[lead.Number] = lead
		i.Created++
	}
	for _, lead := range fresh {
		put(m, m.leads, lead.ID, lead)
	}
	put(m, m.rejects, i.ID, rejects)
	return i, put(m, m.imports, i.ID, i)
}

func (m *memory) GetImport(_ context.Context, id dialer.ImportID) (campaign.Import, error) {
	return find(m, m.imports, id)
}

func (m *memory) ListImports(_ context.Context, list dialer.ListID, id dialer.ImportID, limit int) ([]campaign.Import, error) {
	return after(m, m.imports, id, limit, func(i campaign.Import) bool { return i.List == list })
}

func (m *memory) ImportRejects(_ context.Context, id dialer.ImportID, line, limit int) (out []campaign.Reject, _ error) {
	all, _ := find(m, m.rejects, id)
	for _, r := range all {
		if r.Line > line && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (m *memory) CreateLead(ctx context.Context, list dialer.ListID, l campaign.Lead, _ time.Time) (campaign.Lead, error) {
	if old, _ := m.ListLeads(ctx, list, campaign.LeadFilter{Number: l.Number}, "", 1); len(old) > 0 {
		return l, dialer.Errorf(dialer.Conflict, "the list has this number already")
	}
	return l, put(m, m.leads, l.ID, l)
}

func (m *memory) GetLead(_ context.Context, list dialer.ListID, id dialer.LeadID) (campaign.Lead, error) {
	return find(m, m.leads, id)
}

func (m *memory) LeadByExternalID(_ context.Context, list dialer.ListID, external string) (campaign.Lead, error) {
	found, _ := after(m, m.leads, "", 1, func(l campaign.Lead) bool { return l.List == list && l.ExternalID == external })
	if len(found) == 0 {
		return campaign.Lead{}, dialer.Errorf(dialer.NotFound, "there is no lead %s", external)
	}
	return found[0], nil
}

func (m *memory) ListLeads(_ context.Context, list dialer.ListID, f campaign.LeadFilter, id dialer.LeadID, limit int) ([]campaign.Lead, error) {
	return after(m, m.leads, id, limit, func(l campaign.Lead) bool {
		return l.List == list && (f.Number == "" || l.Number == f.Number) && (f.State == "" || l.State == f.State)
	})
}

func (m *memory) CreateAgent(_ context.Context, a agents.Agent, ha1 string) error {
	put(m, m.ha1, a.ID, ha1)
	return put(m, m.roster, a.ID, a)
}

func (m *memory) GetAgent(_ context.Context, id dialer.AgentID) (agents.Agent, error) {
	return find(m, m.roster, id)
}

func (m *memory) ListAgents(_ context.Context, id dialer.AgentID, limit int) ([]agents.Agent, error) {
	return after(m, m.roster, id, limit, nil)
}

func (m *memory) UpdateAgent(ctx context.Context, a agents.Agent, ha1 string) error {
	return m.CreateAgent(ctx, a, ha1)
}

func (m *memory) DeleteAgent(_ context.Context, id dialer.AgentID) error {
	return remove(m, m.roster, id)
}

func (m *memory) AddDNC(_ context.Context, c dialer.CampaignID, n dialer.Number, source string, now time.Time) error {
	return put(m, m.dnc, string(c)+string(n), campaign.DNCEntry{Number: n, Campaign: c, Source: source, AddedAt: now})
}

func (m *memory) RemoveDNC(_ context.Context, c dialer.CampaignID, n dialer.Number, _ string, _ time.Time) error {
	return remove(m, m.dnc, string(c)+string(n))
}

func (m *memory) CheckDNC(_ context.Context, n dialer.Number) ([]campaign.DNCEntry, error) {
	return after(m, m.dnc, "", 10, func(e campaign.DNCEntry) bool { return e.Number == n })
}

func (m *memory) ListDNC(_ context.Context, c dialer.CampaignID, n dialer.Number, limit int) ([]campaign.DNCEntry, error) {
	return after(m, m.dnc, string(c)+string(n), limit, func(e campaign.DNCEntry) bool { return e.Campaign == c })
}

func (m *memory) PutAsset(_ context.Context, sha, _ string, wav []byte, _ time.Time) error {
	return put(m, m.assets, sha, wav)
}

func (m *memory) Asset(_ context.Context, sha string) ([]byte, error) { return find(m, m.assets, sha) }

func (m *memory) GetCall(_ context.Context, id dialer.CallID) (campaign.Call, error) {
	return find(m, m.calls, id)
}

func (m *memory) ListCalls(_ context.Context, f campaign.CallFilter, id dialer.CallID, limit int) ([]campaign.Call, error) {
	return after(m, m.calls, id, limit, func(c campaign.Call) bool {
		return (f.Campaign == "" || c.Campaign == f.Campaign) && (f.Class == "" || c.Class == f.Class)
	})
}

func (m *memory) CallEvents(_ context.Context, id dialer.CallID) (out []dialer.Event, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Call == id {
			out = append(out, e)
		}
	}
	return out, nil
}

func (m *memory) ListDecisions(_ context.Context, id dialer.CampaignID, from, to time.Time, after int64, limit int) (out []dialer.Event, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range slices.Backward(m.events) {
		if _, ok := e.Fact.(dialer.PacingDecided); ok && e.Campaign == id && (after == 0 || e.Seq < after) && len(out) < limit &&
			!e.At.Before(from) && (to.IsZero() || e.At.Before(to)) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (m *memory) DetectorCounts(_ context.Context, id dialer.CampaignID, _, _ time.Time, _ bool) (out []compliance.DetectorCount, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.calls {
		if n, ok := campaign.CountOf(c); ok && c.Campaign == id {
			out = append(out, n)
		}
	}
	return out, nil
}

func (m *memory) LabelCall(_ context.Context, id dialer.CallID, label, by string, now time.Time) (campaign.Call, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.calls[id]
	if !ok {
		return c, dialer.Errorf(dialer.NotFound, "there is no call %s", id)
	}
	c, _, err := campaign.Labelled(c, label, by, now)
	if err == nil {
		m.calls[id] = c
	}
	return c, err
}

func (m *memory) CallFacts(ctx context.Context, id dialer.CampaignID, _, _ time.Time) iter.Seq2[report.CallFacts, error] {
	calls, _ := m.ListCalls(ctx, campaign.CallFilter{Campaign: id}, "", 1000)
	return func(yield func(report.CallFacts, error) bool) {
		for _, c := range calls {
			if !yield(report.CallFacts{
				Call: c.ID, To: c.To, Agent: c.Agent, PlacedAt: c.PlacedAt, RingingAt: c.RingingAt,
				Times: compliance.Times{
					Answer: c.AnsweredAt, SpeechStart: c.SpeechStartAt, GreetingEnd: c.GreetingEndAt, Agent: c.ConnectedAt,
					MessageStart: c.MessageStartAt, MessageEnd: c.MessageEndAt, End: c.EndedAt,
				},
				EndedBy: string(c.EndedBy), Class: c.Class, AnsweredBy: c.AnsweredBy, MessageSHA: c.MessageSHA,
			}, nil) {
				return
			}
		}
	}
}

func (m *memory) ClaimKey(_ context.Context, who, key, route string, body []byte, _ time.Time) (*dialer.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := who + key
	old, ok := m.answers[id]
	switch {
	case !ok:
		m.answers[id] = claim{body: append([]byte(route), body...)}
		return nil, nil
	case !bytes.Equal(old.body, append([]byte(route), body...)):
		return nil, dialer.Errorf(dialer.Invalid, "the Idempotency-Key was used for another request")
	case old.answer == nil:
		return nil, dialer.Errorf(dialer.Conflict, "the first request is still worked on")
	}
	return old.answer, nil
}

func (m *memory) KeepAnswer(_ context.Context, who, key, _ string, a *dialer.Answer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a == nil {
		delete(m.answers, who+key)
		return nil
	}
	c := m.answers[who+key]
	c.answer = a
	m.answers[who+key] = c
	return nil
}

func (m *memory) Record(facts ...dialer.Event) { m.record(facts...) }

// record appends to the log.
func (m *memory) record(facts ...dialer.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range facts {
		e.Seq = int64(len(m.events)) + 1
		m.events = append(m.events, e)
	}
	close(m.more)
	m.more = make(chan struct{})
}

func (m *memory) LastEvent(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.events)), nil
}

func (m *memory) ReadEvents(_ context.Context, seq int64, limit int) ([]dialer.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seq >= int64(len(m.events)) {
		return nil, nil
	}
	rest := m.events[seq:]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (m *memory) WaitEvents(ctx context.Context, seq int64) error {
	for {
		m.mu.Lock()
		more, there := m.more, int64(len(m.events)) > seq
		m.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("waiting: %w", ctx.Err())
		}
	}
}

func (m *memory) Wake() { m.mu.Lock(); m.woken++; m.mu.Unlock() }

func (m *memory) Live(id dialer.CampaignID) campaign.Live { return campaign.Live{Campaign: id} }

func (m *memory) Diagnostics(_ context.Context, id dialer.CampaignID) (campaign.Diagnostics, error) {
	return campaign.Diagnostics{Summary: "Not dialing: the campaign is not started.", Live: m.Live(id)}, nil
}
