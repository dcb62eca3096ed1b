-- +goose Up

-- What the pacer of a campaign has learned, so that the next start need not learn
-- it again. JSON, of which only the pacer knows the fields; losing it costs some
-- minutes of dialing with care.
CREATE TABLE pacing_estimates (
    campaign_id text PRIMARY KEY REFERENCES campaigns,
    saved_at    timestamptz NOT NULL,
    body        bytea NOT NULL
);
