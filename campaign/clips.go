package campaign

import (
	"bytes"
	"context"
	"time"

	"dialer"
	"dialer/telephony"
)

// A kept clip lies in memory, so that it plays whatever happens to the database.
// Its clip and sha are guarded by the runner, tried is of its goroutine alone.
type kept struct {
	clip  *telephony.Clip
	sha   string
	tried time.Time
}

// has reports whether the asset is there, and can be played.
func (k *kept) has(sha string) bool { return k.clip != nil && k.sha == sha }

// loadClips keeps what the campaign plays.
func (r *runner) loadClips(ctx context.Context, c Campaign, now time.Time) error {
	err := r.loadClip(ctx, &r.message, c.Settings.Message, "the abandoned-call message", now)
	if err != nil {
		return err
	}
	return r.loadClip(ctx, &r.mailbox, c.Settings.Detection.Voicemail, "the message for machines", now)
}

func (r *runner) loadClip(ctx context.Context, k *kept, sha, what string, now time.Time) error {
	r.mu.Lock()
	same := k.sha == sha
	r.mu.Unlock()
	if same || now.Sub(k.tried) < time.Second {
		return nil
	}
	k.tried = now
	var clip *telephony.Clip
	if sha != "" {
		ctx, cancel := context.WithTimeout(ctx, storeLimit)
		defer cancel()
		data, err := r.s.cfg.Store.Asset(ctx, sha)
		if err == nil {
			var read telephony.Clip
			if read, err = telephony.ReadWAV(bytes.NewReader(data), "message"); err == nil {
				clip = &read
			}
		}
		if err != nil && dialer.CodeOf(err) == "" {
			return err
		}
		if err != nil {
			r.setTrouble(what + " cannot be played: " + err.Error())
			return nil
		}
	}
	r.mu.Lock()
	k.clip, k.sha = clip, sha
	r.mu.Unlock()
	return nil
}
