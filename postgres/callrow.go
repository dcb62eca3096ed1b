package postgres

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
)

// callRow is a row of calls as the server's JSON functions read and write it;
// dialog and next stand in open_attempts.
type callRow struct {
	ID          dialer.CallID        `json:"id"`
	PlacedAt    time.Time            `json:"placed_at"`
	Version     int                  `json:"version"`
	Campaign    dialer.CampaignID    `json:"campaign_id"`
	List        dialer.ListID        `json:"list_id"`
	Lead        dialer.LeadID        `json:"lead_id"`
	Trunk       dialer.TrunkID       `json:"trunk_id"`
	Agent       *dialer.AgentID      `json:"agent_id"`
	Mode        campaign.Mode        `json:"mode"`
	To          dialer.Number        `json:"to_number"`
	From        dialer.Number        `json:"from_number"`
	Attempt     int                  `json:"attempt"`
	State       campaign.CallState   `json:"state"`
	Outcome     *campaign.Outcome    `json:"outcome"`
	Class       *compliance.Class    `json:"class"`
	Rules       string               `json:"rules"`
	AnsweredBy  string               `json:"answered_by"`
	Source      string               `json:"answered_by_source"`
	Verdict     string               `json:"verdict"`
	Reason      string               `json:"verdict_reason"`
	Sent        *time.Time           `json:"sent_at"`
	Ringing     *time.Time           `json:"ringing_at"`
	Answered    *time.Time           `json:"answered_at"`
	Speech      *time.Time           `json:"speech_start_at"`
	Greeting    *time.Time           `json:"greeting_end_at"`
	Decided     *time.Time           `json:"decided_at"`
	Connected   *time.Time           `json:"connected_at"`
	MsgStart    *time.Time           `json:"message_start_at"`
	MsgEnd      *time.Time           `json:"message_end_at"`
	MsgSHA      string               `json:"message_sha"`
	OptOut      *time.Time           `json:"opt_out_at"`
	Ended       *time.Time           `json:"ended_at"`
	EndedBy     telephony.Side       `json:"ended_by"`
	Cause       telephony.Cause      `json:"cause"`
	SIPStatus   int                  `json:"sip_status"`
	Q850        int                  `json:"q850"`
	Ghost       bool                 `json:"ghost"`
	Disp        string               `json:"disposition"`
	Note        string               `json:"note"`
	Disposed    *time.Time           `json:"disposed_at"`
	Recording   string               `json:"recording"`
	Media       telephony.MediaStats `json:"media"`
	AgentMedia  telephony.MediaStats `json:"agent_media"`
	Tries       []telephony.Try      `json:"tries"`
	Attestation string               `json:"attestation"`
	Heard       campaign.Heard       `json:"heard"`
	Dialog      *string              `json:"dialog"` // as bytea text, "\x…"
}

// orNull makes the zero value null.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// at keeps the microseconds that a timestamptz holds; the zero time is null.
func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = stamp(t)
	return &t
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// placedWithin is where the placed_at of a call lies: an id is made when its
// attempt is, and the attempt waits minutes at most for its agent and its
// commit. It lets the server look into the partitions of one or two days, not
// into all. No id of a call lies nowhere.
func placedWithin(id dialer.CallID) (from, to time.Time) {
	made, ok := id.Time()
	if !ok {
		return time.Time{}, time.Time{}
	}
	return made.Add(-time.Hour), made.Add(22 * time.Hour)
}

func when(p *time.Time) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.UTC()
}

func rowOf(c campaign.Call) callRow {
	r := callRow{
		ID: c.ID, PlacedAt: stamp(c.PlacedAt), Version: c.Version, Campaign: c.Campaign, List: c.List, Lead: c.Lead,
		Trunk: c.Trunk, Agent: orNull(c.Agent), Mode: c.Mode, To: c.To, From: c.From, Attempt: c.Attempt,
		State: c.State, Outcome: orNull(c.Outcome), Class: orNull(c.Class), Rules: c.Rules,
		AnsweredBy: c.AnsweredBy, Source: c.AnsweredBySource, Verdict: c.Verdict, Reason: c.VerdictReason,
		Sent: at(c.SentAt), Ringing: at(c.RingingAt), Answered: at(c.AnsweredAt), Speech: at(c.SpeechStartAt),
		Greeting: at(c.GreetingEndAt), Decided: at(c.DecidedAt), Connected: at(c.ConnectedAt),
		MsgStart: at(c.MessageStartAt), MsgEnd: at(c.MessageEndAt), MsgSHA: c.MessageSHA, OptOut: at(c.OptOutAt),
		Ended: at(c.EndedAt), EndedBy: c.EndedBy, Cause: c.Cause, SIPStatus: c.SIPStatus, Q850: c.Q850, Ghost: c.Ghost,
		Disp: c.Disposition, Note: c.Note, Disposed: at(c.DisposedAt), Recording: c.Recording, Media: c.Media,
		AgentMedia: c.AgentMedia, Tries: append([]telephony.Try{}, c.Tries...), Attestation: c.Attestation,
		Heard: c.Heard,
	}
	if len(c.Dialog) > 0 {
		dialog := `\x` + hex.EncodeToString(c.Dialog)
		r.Dialog = &dialog
	}
	return r
}

func (r callRow) call() campaign.Call {
	c := campaign.Call{
		ID: r.ID, PlacedAt: r.PlacedAt.UTC(), Version: r.Version, Campaign: r.Campaign, List: r.List, Lead: r.Lead,
		Trunk: r.Trunk, Agent: orZero(r.Agent), Mode: r.Mode, To: r.To, From: r.From, Attempt: r.Attempt,
		State: r.State, Outcome: orZero(r.Outcome), Class: orZero(r.Class), Rules: r.Rules,
		AnsweredBy: r.AnsweredBy, AnsweredBySource: r.Source, Verdict: r.Verdict, VerdictReason: r.Reason,
		SentAt: when(r.Sent), RingingAt: when(r.Ringing), AnsweredAt: when(r.Answered), SpeechStartAt: when(r.Speech),
		GreetingEndAt: when(r.Greeting), DecidedAt: when(r.Decided), ConnectedAt: when(r.Connected),
		MessageStartAt: when(r.MsgStart), MessageEndAt: when(r.MsgEnd), MessageSHA: r.MsgSHA, OptOutAt: when(r.OptOut),
		EndedAt: when(r.Ended), EndedBy: r.EndedBy, Cause: r.Cause, SIPStatus: r.SIPStatus, Q850: r.Q850, Ghost: r.Ghost,
		Disposition: r.Disp, Note: r.Note, DisposedAt: when(r.Disposed), Recording: r.Recording, Media: r.Media,
		AgentMedia: r.AgentMedia, Attestation: r.Attestation, Heard: r.Heard,
	}
	if len(r.Tries) > 0 {
		c.Tries = r.Tries
	}
	if r.Dialog != nil {
		c.Dialog, _ = hex.DecodeString((*r.Dialog)[2:]) // the server wrote it
	}
	return c
}

const sqlLockCall = `SELECT to_jsonb(calls) FROM calls WHERE id = $1 AND placed_at >= $2 AND placed_at < $3 FOR NO KEY UPDATE`

// lockCall reads a call that the transaction is about to change.
func lockCall(ctx context.Context, tx pgx.Tx, id dialer.CallID) (campaign.Call, error) {
	from, to := placedWithin(id)
	rows, err := tx.Query(ctx, sqlLockCall, id, from, to)
	if err != nil {
		return campaign.Call{}, err
	}
	call, err := pgx.CollectExactlyOneRow(rows, scanCall)
	if errors.Is(err, pgx.ErrNoRows) {
		err = dialer.Errorf(dialer.NotFound, "there is no call %s", id)
	}
	return call, err
}

// collectCalls reads rows of one JSON column, as to_jsonb made it.
func collectCalls(rows pgx.Rows) ([]campaign.Call, error) {
	return pgx.CollectRows(rows, scanCall)
}

func scanCall(row pgx.CollectableRow) (campaign.Call, error) {
	var text []byte
	if err := row.Scan(&text); err != nil {
		return campaign.Call{}, err
	}
	var r callRow
	err := json.Unmarshal(text, &r)
	return r.call(), err
}
