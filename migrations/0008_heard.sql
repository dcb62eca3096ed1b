-- +goose Up

-- What the detector has brought about in a call beside its verdict: codes, late
-- machines, messages left, the draws of samples, seconds kept and their labels.
ALTER TABLE calls ADD COLUMN heard jsonb NOT NULL DEFAULT '{}';
-- The samples of machine verdicts, which pacing and reports ask for: they are few
-- among very many calls.
CREATE INDEX calls_sampled ON calls (campaign_id, placed_at) WHERE heard ? 'agent_draw' OR heard ? 'kept';
