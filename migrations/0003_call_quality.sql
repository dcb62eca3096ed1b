-- +goose Up

-- Which peers of which trunks were asked, what was said of the caller ID, and how
-- the agent's leg was during the talk.
ALTER TABLE calls
    ADD COLUMN tries       jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN attestation text NOT NULL DEFAULT '',
    ADD COLUMN agent_media jsonb NOT NULL DEFAULT '{}';
