-- +goose Up

-- The decisions of a campaign's pacer, out of a log of which they are a small part.
CREATE INDEX events_decisions ON events (campaign_id, at, seq) WHERE kind = 'pacing.decided';
