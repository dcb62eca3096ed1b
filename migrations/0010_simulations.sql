-- +goose Up

-- Simulations that were asked for. A node claims one by its slot and epoch and beats;
-- one whose node does so no more is anybody's, and begins anew.
CREATE TABLE simulations (
    id          text PRIMARY KEY CHECK (id LIKE 'sim\_%'),
    state       text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    progress    double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    created_by  text NOT NULL,
    campaign_id text REFERENCES campaigns,
    settings    jsonb NOT NULL,
    outcome     jsonb NOT NULL DEFAULT '{}',
    tries       int NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz,
    beat_at     timestamptz,
    slot        int REFERENCES nodes,
    epoch       bigint,
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'running' OR (slot IS NOT NULL AND epoch IS NOT NULL AND beat_at IS NOT NULL))
);
CREATE INDEX simulations_open ON simulations (id) WHERE state IN ('queued', 'running');

-- When what was logged: the log is in the order of time but for moments, so that an
-- index of ranges is enough, which costs a write nothing.
CREATE INDEX events_at ON events USING brin (at) WITH (pages_per_range = 32, autosummarize = on);
