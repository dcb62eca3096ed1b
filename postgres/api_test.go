package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/api"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/internal/storetest"
	"dialer/report"
	"dialer/telephony"
)

var (
	_ api.Store    = (*DB)(nil)
	_ agents.Saver = (*DB)(nil)
)

var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code dialer.Code, what string) {
	t.Helper()
	if dialer.CodeOf(err) != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

// aList makes a running campaign with an empty list.
func aList(t testing.TB, db *DB) (dialer.CampaignID, dialer.ListID) {
	t.Helper()
	c, err := db.CreateCampaign(t.Context(), campaign.Settings{Name: "spring", Trunk: "trk_1", MaxAttempts: 5}, "ann", noon)
	check(t, err)
	_, err = db.SetCampaignState(t.Context(), c.ID, []campaign.State{campaign.Draft}, campaign.Running, "ann", "", noon)
	check(t, err)
	l := campaign.List{ID: dialer.NewListID(), Campaign: c.ID, Name: "march", CreatedAt: noon}
	check(t, db.CreateList(t.Context(), l))
	return c.ID, l.ID
}

func rowsOf(text string) iter.Seq2[campaign.Row, error] {
	return campaign.ReadLeads(strings.NewReader(text), campaign.ReadOptions{Region: "US"})
}

func TestImport(t *testing.T) {
	db := open(t)
	id, list := aList(t, db)
	im, err := db.ImportLeads(t.Context(), list, rowsOf("number,name,external_id\n"+
		"2125550101,Ann,A\n2125550102,Bob\x01,B\nnonsense,Eve,C\n2125550101,Ann again,D\n2125550103,\\u0000,E\n"), false, noon)
	check(t, err)
	if im.Rows != 5 || im.Created != 3 || im.Skipped != 1 || im.Rejected != 1 || im.Updated != 0 || im.Error != "" || im.EndedAt.IsZero() {
		t.Errorf("first import: %+v", im)
	}
	rejects, err := db.ImportRejects(t.Context(), im.ID, 0, 10)
	check(t, err)
	if len(rejects) != 1 || rejects[0].Line != 4 || rejects[0].Reason == "" || !strings.Contains(rejects[0].Text, "nonsense") {
		t.Errorf("rejects: %+v", rejects)
	}
	im2, err := db.ImportLeads(t.Context(), list, rowsOf("number,name,city\n+12125550102,Robert,Oslo\n+12125550104,Dan,Rome\n+12125550104,Daniel,Rome\n"), true, noon)
	check(t, err)
	if im2.Rows != 3 || im2.Created != 1 || im2.Updated != 1 || im2.Skipped != 1 {
		t.Errorf("second import: %+v", im2)
	}
	leads, err := db.ListLeads(t.Context(), list, campaign.LeadFilter{}, "", 100)
	check(t, err)
	names := map[string]string{}
	for _, l := range leads {
		names[string(l.Number)] = l.Fields["name"] + "/" + l.Fields["city"]
	}
	if names["+12125550102"] != "Robert/Oslo" || names["+12125550104"] != "Daniel/Rome" || names["+12125550101"] != "Ann/" {
		t.Errorf("leads: %v", names)
	}
	l, err := db.LeadByExternalID(t.Context(), list, "B")
	check(t, err)
	if l.Number != "+12125550102" || l.Campaign != id {
		t.Errorf("by external id: %+v", l)
	}
	if _, err := db.GetLead(t.Context(), list, l.ID); err != nil {
		t.Error(err)
	}
	_, err = db.GetLead(t.Context(), dialer.NewListID(), l.ID)
	wantCode(t, err, dialer.NotFound, "a lead of another list")
	claimed, err := db.ClaimLeads(t.Context(), id, 10, "", noon.Add(time.Second))
	check(t, err)
	if len(claimed) != 4 || claimed[0].Number != "+12125550101" || claimed[1].Number != "+12125550102" {
		t.Errorf("leads are not called in the order of the file: %v", claimed)
	}
	imports, err := db.ListImports(t.Context(), list, "", 10)
	check(t, err)
	if len(imports) != 2 || imports[0] != im {
		t.Errorf("imports: %+v", imports)
	}
}

// TestBrokenImport: what ends an upload early leaves its record and nothing else.
func TestBrokenImport(t *testing.T) {
	db := open(t)
	id, list := aList(t, db)
	broken := errors.New("connection reset")
	for name, fault := range map[string]error{
		"a fault of the file":   dialer.Errorf(dialer.Invalid, "line 7: NUL"),
		"a fault of the reader": broken,
	} {
		im, err := db.ImportLeads(t.Context(), list, func(yield func(campaign.Row, error) bool) {
			for i := range stageSize + 10 {
				if !yield(campaign.Row{Line: i + 2, Lead: campaign.Lead{Number: dialer.Number(fmt.Sprintf("+1212%07d", i))}}, nil) {
					return
				}
			}
			yield(campaign.Row{}, fault)
		}, false, noon)
		if !errors.Is(err, fault) {
			t.Errorf("%s: got %v", name, err)
		}
		kept, err := db.GetImport(t.Context(), im.ID)
		check(t, err)
		if kept.Error == "" || kept.EndedAt.IsZero() || kept.Created != 0 {
			t.Errorf("%s: the record is %+v", name, kept)
		}
	}
	counts, err := db.LeadsLeft(t.Context(), id, noon)
	check(t, err)
	if counts.Total != 0 {
		t.Errorf("%d leads were left behind", counts.Total)
	}
	_, err = db.ImportLeads(t.Context(), dialer.NewListID(), rowsOf("number\n+12125550101\n"), false, noon)
	wantCode(t, err, dialer.NotFound, "import into no list")
}

func TestCampaigns(t *testing.T) {
	db := open(t)
	hours, err := compliance.ParseHours("Mon-Fri 09:00-17:00")
	check(t, err)
	half := 0.5
	s := campaign.Settings{Name: "spring", Mode: campaign.Predictive, Hours: hours, AbandonCap: &half,
		Retry: map[campaign.Outcome]campaign.RetryRule{campaign.OutcomeBusy: {AfterS: 60, Max: 2}}}
	c, err := db.CreateCampaign(t.Context(), s, "ann", noon)
	check(t, err)
	got, err := db.GetCampaign(t.Context(), c.ID)
	check(t, err)
	if fmt.Sprint(got.Settings.Hours) != fmt.Sprint(hours) || *got.Settings.AbandonCap != half || got.Settings.Retry[campaign.OutcomeBusy].Max != 2 || got.Version != 1 {
		t.Errorf("kept %+v", got)
	}
	s.Name = "summer"
	c2, err := db.UpdateCampaign(t.Context(), c.ID, 1, s, "bob", noon)
	check(t, err)
	if c2.Version != 2 || c2.Settings.Name != "summer" {
		t.Errorf("changed %+v", c2)
	}
	_, err = db.UpdateCampaign(t.Context(), c.ID, 1, s, "bob", noon)
	wantCode(t, err, dialer.Conflict, "an old version")
	_, err = db.UpdateCampaign(t.Context(), "cmp_none", 1, s, "bob", noon)
	wantCode(t, err, dialer.NotFound, "no campaign")
	for range 3 {
		_, err := db.CreateCampaign(t.Context(), s, "ann", noon)
		check(t, err)
	}
	page, err := db.ListCampaigns(t.Context(), "", 3)
	check(t, err)
	rest, err := db.ListCampaigns(t.Context(), page[2].ID, 3)
	check(t, err)
	if len(page) != 3 || len(rest) != 1 {
		t.Errorf("pages of %d and %d", len(page), len(rest))
	}
	wantCode(t, db.CreateList(t.Context(), campaign.List{ID: dialer.NewListID(), Campaign: "cmp_none", CreatedAt: noon}), dialer.NotFound, "a list of no campaign")
}

func TestLeadsAndCalls(t *testing.T) {
	db := open(t)
	id, list := aList(t, db)
	l, err := db.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550101", ExternalID: "x"}, noon)
	check(t, err)
	_, err = db.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550101"}, noon)
	wantCode(t, err, dialer.Conflict, "a number twice")
	_, err = db.CreateLead(t.Context(), list, campaign.Lead{Number: "12"}, noon)
	wantCode(t, err, dialer.Invalid, "no number")
	_, err = db.CreateLead(t.Context(), "lst_none", campaign.Lead{Number: "+12125550102"}, noon)
	wantCode(t, err, dialer.NotFound, "no list")
	check(t, db.PutAsset(t.Context(), strings.Repeat("ab", 32), "sorry", []byte("RIFF"), noon))
	var calls []campaign.Call
	for i := range 5 {
		claimed, err := db.ClaimLeads(t.Context(), id, 1, "", noon)
		check(t, err)
		if len(claimed) != 1 {
			t.Fatalf("claimed %d", len(claimed))
		}
		placed := noon.AddDate(0, 0, i)
		c := campaign.Call{ID: storetest.CallID(placed), Version: 1, Campaign: id, List: list, Lead: l.ID, Mode: campaign.Power,
			To: l.Number, From: "+12125550000", Attempt: i + 1, State: campaign.Placed, PlacedAt: placed}
		check(t, db.BeginCall(t.Context(), c, dialer.CallPlaced{To: c.To}))
		c.Version, c.State, c.Outcome, c.Class, c.EndedAt = 2, campaign.Ended, campaign.OutcomeAbandoned, compliance.ClassAbandonedMsg, c.PlacedAt.Add(time.Minute)
		c.MessageSHA = strings.Repeat("ab", 32)
		db.EndCall(c, campaign.Next{State: campaign.Dialable, Due: noon}, dialer.CallEnded{Outcome: "abandoned"})
		check(t, db.Flush(t.Context()))
		calls = append(calls, c)
	}
	slices.Reverse(calls) // newest first
	first, err := db.ListCalls(t.Context(), campaign.CallFilter{Campaign: id, Class: compliance.ClassAbandonedMsg}, "", 3)
	check(t, err)
	rest, err := db.ListCalls(t.Context(), campaign.CallFilter{Campaign: id}, first[2].ID, 3)
	check(t, err)
	for i, c := range append(first, rest...) {
		if c.ID != calls[i].ID {
			t.Errorf("call %d is %s, want %s", i, c.ID, calls[i].ID)
		}
	}
	day, err := db.ListCalls(t.Context(), campaign.CallFilter{Lead: l.ID, Number: l.Number, From: noon.AddDate(0, 0, 1), To: noon.AddDate(0, 0, 2)}, "", 9)
	check(t, err)
	if len(day) != 1 {
		t.Errorf("%d calls of one day", len(day))
	}
	events, err := db.CallEvents(t.Context(), calls[0].ID)
	check(t, err)
	if len(events) != 2 {
		t.Errorf("events: %+v", events)
	}
	var facts []report.CallFacts
	for f, err := range db.CallFacts(t.Context(), id, noon, time.Time{}) {
		check(t, err)
		facts = append(facts, f)
	}
	if len(facts) != 5 || facts[0].MessageAsset != "sorry" || facts[0].Class != compliance.ClassAbandonedMsg || !facts[0].Times.End.Equal(noon.Add(time.Minute)) {
		t.Errorf("facts: %+v", facts)
	}
	counts, err := db.OutcomeCounts(t.Context(), id)
	check(t, err)
	if counts[campaign.OutcomeAbandoned] != 5 {
		t.Errorf("outcomes: %v", counts)
	}
	kept, err := db.GetLead(t.Context(), "", l.ID)
	check(t, err)
	if len(kept.Recent) != 3 { // 48 hours back from the last attempt, inclusive
		t.Errorf("recent attempts: %v", kept.Recent)
	}
}

func TestPeople(t *testing.T) {
	db := open(t)
	a := agents.Agent{ID: dialer.NewAgentID(), Name: "Ann", Extension: "101"}
	check(t, db.CreateAgent(t.Context(), a, "ha1"))
	wantCode(t, db.CreateAgent(t.Context(), agents.Agent{ID: dialer.NewAgentID(), Extension: "101"}, ""), dialer.Conflict, "an extension twice")
	id, _ := aList(t, db)
	a.Campaigns, a.Name = []dialer.CampaignID{id}, "Anna"
	check(t, db.UpdateAgent(t.Context(), a, ""))
	got, err := db.GetAgent(t.Context(), a.ID)
	check(t, err)
	if fmt.Sprint(got) != fmt.Sprint(a) {
		t.Errorf("got %+v, want %+v", got, a)
	}
	ha1, ok, err := db.SIPCredentials(t.Context(), "101")
	if ha1 != "ha1" || !ok || err != nil {
		t.Errorf("credentials %q %v %v", ha1, ok, err)
	}
	if _, ok, err := db.SIPCredentials(t.Context(), "102\x00"); ok || err != nil {
		t.Errorf("credentials of nobody: %v %v", ok, err)
	}
	u := dialer.User{ID: dialer.NewUserID(), Name: "Ann", Role: dialer.RoleAgent, Agent: a.ID}
	check(t, db.CreateUser(t.Context(), u, "hash"))
	wantCode(t, db.CreateUser(t.Context(), dialer.User{ID: dialer.NewUserID(), Name: "ANN", Role: dialer.RoleAdmin}, "h"), dialer.Conflict, "a name twice")
	byName, hash, err := db.UserByName(t.Context(), "ann")
	if byName != u || hash != "hash" || err != nil {
		t.Errorf("by name: %+v %q %v", byName, hash, err)
	}
	check(t, db.DeleteUser(t.Context(), u.ID))
	_, err = db.GetUser(t.Context(), u.ID)
	wantCode(t, err, dialer.NotFound, "a deleted user")

	k := dialer.APIKey{ID: dialer.NewKeyID(), Name: "crm", Role: dialer.RoleManager, CreatedAt: noon}
	check(t, db.CreateAPIKey(t.Context(), k, bytes.Repeat([]byte{7}, 32)))
	holder, sum, err := db.APIKey(t.Context(), k.ID)
	if holder.Role != k.Role || len(sum) != 32 || err != nil {
		t.Errorf("key: %+v %v", holder, err)
	}
	check(t, db.RevokeAPIKey(t.Context(), k.ID))
	_, _, err = db.APIKey(t.Context(), k.ID)
	wantCode(t, err, dialer.NotFound, "a revoked key")

	// A session's moves are kept in order, and a restart ends the session.
	db.SaveAgentState(a.ID, agents.LoggedOut, agents.NotReady, 1, "", "")
	db.SaveAgentState(a.ID, agents.NotReady, agents.Ready, 2, "", "")
	db.SaveAgentState(a.ID, agents.NotReady, agents.Talking, 2, "stale", "")
	check(t, db.Flush(t.Context()))
	wantCode(t, db.DeleteAgent(t.Context(), a.ID), dialer.Conflict, "delete of an agent at work")
	check(t, db.Register(context.WithoutCancel(t.Context()), 2)) // another slot leaves them alone
	if state := agentState(t, db, a.ID); state != "ready" {
		t.Errorf("the agent is %s, want ready", state)
	}
	check(t, db.Register(t.Context(), 1))
	if state := agentState(t, db, a.ID); state != "logged_out" {
		t.Errorf("after a restart the agent is %s", state)
	}
	check(t, db.DeleteAgent(t.Context(), a.ID))
	wantCode(t, db.DeleteAgent(t.Context(), a.ID), dialer.NotFound, "delete of nobody")
}

func agentState(t *testing.T, db *DB, id dialer.AgentID) (state string) {
	t.Helper()
	check(t, db.pool.QueryRow(t.Context(), `SELECT state FROM agents WHERE id = $1`, id).Scan(&state))
	return state
}

func TestTrunks(t *testing.T) {
	db := open(t)
	trunk := telephony.Trunk{ID: "trk_1", Name: "main", Address: "198.51.100.1", Channels: 30, CPS: 2.5, Codecs: []string{"PCMA"},
		MediaSources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, Username: "u", Password: "p", Enabled: true,
		TrunkOptions: storetest.FullTrunkOptions()}
	check(t, db.CreateTrunk(t.Context(), trunk))
	wantCode(t, db.CreateTrunk(t.Context(), telephony.Trunk{ID: "trk_2", Name: "main", Address: "x", Channels: 1, CPS: 1}), dialer.Conflict, "a name twice")
	got, version, err := db.GetTrunk(t.Context(), trunk.ID)
	check(t, err)
	if fmt.Sprint(got) != fmt.Sprint(trunk) || version != 1 {
		t.Errorf("got %+v version %d", got, version)
	}
	trunk.Channels, trunk.TrunkOptions = 60, telephony.TrunkOptions{}
	check(t, db.UpdateTrunk(t.Context(), 1, trunk))
	if got, _, err := db.GetTrunk(t.Context(), trunk.ID); err != nil || fmt.Sprint(got) != fmt.Sprint(trunk) {
		t.Errorf("after a change: %+v, %v", got, err)
	}
	wantCode(t, db.UpdateTrunk(t.Context(), 1, trunk), dialer.Conflict, "an old version")
	id, _ := aList(t, db)
	wantCode(t, db.DeleteTrunk(t.Context(), trunk.ID), dialer.Conflict, "delete of a trunk in use")
	check(t, db.CreateTrunk(t.Context(), telephony.Trunk{ID: "trk_3", Name: "backup", Address: "x", Channels: 1, CPS: 1}))
	c, err := db.GetCampaign(t.Context(), id)
	check(t, err)
	c.Settings.Backups = []dialer.TrunkID{"trk_2", "trk_3"}
	_, err = db.UpdateCampaign(t.Context(), id, c.Version, c.Settings, "ann", noon)
	check(t, err)
	wantCode(t, db.DeleteTrunk(t.Context(), "trk_3"), dialer.Conflict, "delete of a backup trunk in use")
	_, err = db.SetCampaignState(t.Context(), id, []campaign.State{campaign.Running}, campaign.Stopped, "ann", "", noon)
	check(t, err)
	check(t, db.DeleteTrunk(t.Context(), trunk.ID))
	check(t, db.DeleteTrunk(t.Context(), "trk_3"))
	all, err := db.ListTrunks(t.Context())
	if len(all) != 0 || err != nil {
		t.Errorf("trunks: %v %v", all, err)
	}
}

func TestDNCLists(t *testing.T) {
	db := open(t)
	id, _ := aList(t, db)
	const n = dialer.Number("+12125550101")
	check(t, db.AddDNC(t.Context(), "", n, "law", noon))
	check(t, db.AddDNC(t.Context(), id, n, "person", noon))
	check(t, db.AddDNC(t.Context(), id, n, "again", noon))
	entries, err := db.CheckDNC(t.Context(), n)
	check(t, err)
	want := []campaign.DNCEntry{{Number: n, Source: "law", AddedAt: noon}, {Number: n, Campaign: id, Source: "person", AddedAt: noon}}
	if !slices.Equal(entries, want) {
		t.Errorf("entries %+v", entries)
	}
	check(t, db.RemoveDNC(t.Context(), "", n, "ann", noon))
	wantCode(t, db.RemoveDNC(t.Context(), "", n, "ann", noon), dialer.NotFound, "removed twice")
	wantCode(t, db.AddDNC(t.Context(), "", "911", "x", noon), dialer.Invalid, "no number")
	wantCode(t, db.AddDNC(t.Context(), "cmp_none", n, "x", noon), dialer.NotFound, "no campaign")
	if entries, err := db.ListDNC(t.Context(), id, "", 10); len(entries) != 1 || err != nil {
		t.Errorf("the campaign's list: %+v %v", entries, err)
	}
}

func TestReplays(t *testing.T) {
	db := open(t)
	body := []byte(`{"a":1}`)
	a, err := db.ClaimKey(t.Context(), "usr_1", "k", "POST /v1/x", body, noon)
	if a != nil || err != nil {
		t.Fatalf("first claim: %v %v", a, err)
	}
	_, err = db.ClaimKey(t.Context(), "usr_1", "k", "POST /v1/x", body, noon)
	wantCode(t, err, dialer.Conflict, "a request that is worked on")
	want := dialer.Answer{Status: 201, Type: "application/json", Location: "/v1/x/1", ETag: `"1"`, Body: []byte("{}")}
	check(t, db.KeepAnswer(t.Context(), "usr_1", "k", "POST /v1/x", &want))
	a, err = db.ClaimKey(t.Context(), "usr_1", "k", "POST /v1/x", body, noon)
	check(t, err)
	if fmt.Sprint(*a) != fmt.Sprint(want) {
		t.Errorf("replay %+v", a)
	}
	_, err = db.ClaimKey(t.Context(), "usr_1", "k", "POST /v1/x", []byte("other"), noon)
	wantCode(t, err, dialer.Invalid, "another body")
	_, err = db.ClaimKey(t.Context(), "usr_1", "k", "POST /v1/y", body, noon)
	wantCode(t, err, dialer.Invalid, "another route")
	a, err = db.ClaimKey(t.Context(), "usr_2", "k", "POST /v1/x", body, noon)
	if a != nil || err != nil {
		t.Errorf("another user's key: %v %v", a, err)
	}
	check(t, db.KeepAnswer(t.Context(), "usr_2", "k", "POST /v1/x", nil))
	a, err = db.ClaimKey(t.Context(), "usr_2", "k", "POST /v1/x", body, noon)
	if a != nil || err != nil {
		t.Errorf("a key given back: %v %v", a, err)
	}
}

func TestAssetsAndBindings(t *testing.T) {
	db := open(t)
	_, err := db.Asset(t.Context(), strings.Repeat("0", 64))
	wantCode(t, err, dialer.NotFound, "no asset")
	b := Binding{AOR: "101", Contact: "sip:101@192.0.2.1", Source: netip.MustParseAddrPort("192.0.2.1:5060"), CallID: "x", CSeq: 1 << 31, Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond), UserAgent: "phone"}
	check(t, db.SaveBinding(t.Context(), b))
	b.CSeq++
	check(t, db.SaveBinding(t.Context(), b))
	all, err := db.Bindings(t.Context())
	if len(all) != 1 || all[0] != b || err != nil {
		t.Errorf("bindings %+v %v", all, err)
	}
	check(t, db.DeleteBinding(t.Context(), "101"))
}
