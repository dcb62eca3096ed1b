-- +goose Up

-- Names the calls of a node: the next process in its slot can cancel what the one
-- before left ringing.
ALTER TABLE nodes ADD COLUMN call_key bytea;
