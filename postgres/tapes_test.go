package postgres

import (
	"slices"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
)

// A stretch gets the tapes that reach into it, each from its beginning on; what is
// older than a month goes.
func TestTapes(t *testing.T) {
	db := open(t)
	id, _ := aList(t, db)
	other, _ := aList(t, db)
	now := time.Now().UTC().Truncate(time.Millisecond)
	save := func(id dialer.CampaignID, began time.Time, parts int) {
		for part := range parts {
			from := began.Add(time.Duration(part) * time.Minute)
			p := campaign.TapePart{Campaign: id, Began: began, Part: part, From: from, To: from.Add(time.Minute), Version: "v\x001", Body: []byte{0, 255, byte(part)}}
			check(t, db.SaveTape(t.Context(), p))
			check(t, db.SaveTape(t.Context(), p)) // again, as after a lost answer
		}
	}
	old := now.Add(-32 * 24 * time.Hour)
	save(id, old, 1)
	save(id, now.Add(-20*time.Minute), 5)
	save(id, now.Add(-10*time.Minute), 5)
	save(other, now.Add(-10*time.Minute), 1)
	read := func(from, to time.Time) (found []int) {
		for p, err := range db.Tapes(t.Context(), id, from, to) {
			check(t, err)
			if p.Campaign != id || p.Body[2] != byte(p.Part) || len(p.Body) != 3 || !p.To.Equal(p.Began.Add(time.Duration(p.Part+1)*time.Minute)) || p.Version == "" {
				t.Errorf("%+v", p)
			}
			found = append(found, p.Part)
		}
		return found
	}
	for _, c := range []struct {
		from, to time.Duration
		want     []int
	}{
		{-8 * time.Minute, -7 * time.Minute, []int{0, 1, 2}},
		{-16 * time.Minute, -9 * time.Minute, []int{0, 1, 2, 3, 4, 0}},
		{-14 * time.Minute, -12 * time.Minute, nil},
		{0, time.Hour, nil},
	} {
		if got := read(now.Add(c.from), now.Add(c.to)); !slices.Equal(got, c.want) {
			t.Errorf("from %s to %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
	// The housekeeping of the start may have been here already.
	if !db.housekeeping(t.Context()) {
		t.Error("no housekeeping")
	}
	if got := read(old, old.Add(time.Second)); got != nil {
		t.Errorf("after a month: %v", got)
	}
	if got := read(now.Add(-8*time.Minute), now); len(got) != 5 {
		t.Errorf("the rest: %v", got)
	}
}
