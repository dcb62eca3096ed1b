package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
)

func TestDispositionsAreThoseOfTheCampaign(t *testing.T) {
	h := open(t)
	c, err := h.db.CreateCampaign(t.Context(), campaign.Settings{Name: "Spring"}, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.db.calls["cal_1"] = campaign.Call{ID: "cal_1", Campaign: c.ID}
	tomorrow := time.Now().Add(24 * time.Hour)
	tests := []struct {
		name  string
		said  agents.Disposition
		field string // of the mistake; empty when there is none
	}{
		{"known", agents.Disposition{Code: "SALE"}, ""},
		{"unknown", agents.Disposition{Code: "SOLD"}, "code"},
		{"callback", agents.Disposition{Code: "CALLBACK", Callback: tomorrow}, ""},
		{"callback without a time", agents.Disposition{Code: "CALLBACK"}, "callback_at"},
		{"callback in the past", agents.Disposition{Code: "CALLBACK", Callback: time.Now().Add(-time.Hour)}, "callback_at"},
		{"a time without a callback", agents.Disposition{Code: "SALE", Callback: tomorrow}, "callback_at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := h.s.checkDisposition(t.Context(), "cal_1", tt.said)
			var mistake *dialer.Error
			switch {
			case tt.field == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.field != "" && (!errors.As(err, &mistake) || mistake.Field != tt.field):
				t.Errorf("got %v, want a mistake in %s", err, tt.field)
			}
		})
	}
}

// TestDispositionIsAcknowledgedOnceItIsKept: an answer before the commit would
// promise what a crash can take back.
func TestDispositionIsAcknowledgedOnceItIsKept(t *testing.T) {
	h := open(t)
	h.db.calls["cal_1"] = campaign.Call{ID: "cal_1"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.s.kept(ctx, "cal_1"); dialer.CodeOf(err) != dialer.Unavailable {
		t.Errorf("not saved: %v, want unavailable", err)
	}
	h.db.calls["cal_1"] = campaign.Call{ID: "cal_1", Disposition: "SALE"}
	if err := h.s.kept(t.Context(), "cal_1"); err != nil {
		t.Errorf("saved: %v", err)
	}
}
