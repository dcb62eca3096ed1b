package storetest

import (
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
)

// tapes: parts are saved once each, also when it is tried again.
func tapes(t *testing.T, f *fixture) {
	for _, part := range []int{0, 1, 1} {
		err := f.SaveTape(f.ctx, campaign.TapePart{
			Campaign: f.id, Began: now, Part: part, From: now.Add(time.Duration(part) * time.Minute), To: now.Add(time.Duration(part+1) * time.Minute),
			Version: "v1", Body: []byte{0, byte(part)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.SaveTape(f.ctx, campaign.TapePart{Campaign: dialer.NewCampaignID(), Began: now}); dialer.CodeOf(err) != "" {
		t.Errorf("a tape of no campaign is no fault of a user: %v", err)
	}
}
