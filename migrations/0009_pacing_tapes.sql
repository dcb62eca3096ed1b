-- +goose Up

-- What each decision of a pacer was made of, by the minute, so that it can be
-- replayed (pacing.Recorder). Only the pacer knows what is in the body.
CREATE TABLE pacing_tapes (
    campaign_id text NOT NULL REFERENCES campaigns,
    began_at    timestamptz NOT NULL, -- names the tape
    part        int NOT NULL CHECK (part >= 0),
    from_at     timestamptz NOT NULL,
    to_at       timestamptz NOT NULL,
    version     text NOT NULL, -- of the program
    body        bytea NOT NULL,
    PRIMARY KEY (campaign_id, began_at, part)
);
CREATE INDEX pacing_tapes_age ON pacing_tapes (to_at);
