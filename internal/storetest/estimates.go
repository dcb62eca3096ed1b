package storetest

import (
	"bytes"
	"testing"

	"dialer"
)

// estimates: the last that was saved comes back, also after a crash.
func estimates(t *testing.T, f *fixture) {
	look := func(when string, s Store, id dialer.CampaignID, want []byte) {
		t.Helper()
		got, err := s.Estimate(f.ctx, id)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", when, got, err, want)
		}
	}
	look("before any", f, f.id, nil)
	for _, body := range []string{`{"attempts":1}`, `{"attempts":2}`} {
		if err := f.SaveEstimate(f.ctx, f.id, []byte(body), now); err != nil {
			t.Fatal(err)
		}
	}
	look("the last", f, f.id, []byte(`{"attempts":2}`))
	look("another campaign", f, dialer.NewCampaignID(), nil)
	look("after a restart", f.Restart(), f.id, []byte(`{"attempts":2}`))
}
