-- +goose Up

-- The SIP of each call, for a while: a row a call, a further one for what came
-- late. The body is compressed; a ladder that is lost costs no more than itself.
CREATE TABLE sip_ladders (
    call_id  text NOT NULL,
    began_at timestamptz NOT NULL,
    station  text, -- the agent's phone that was called; null when a number was
    body     bytea NOT NULL,
    PRIMARY KEY (call_id, began_at)
);
ALTER TABLE sip_ladders ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX sip_ladders_age ON sip_ladders (began_at);
CREATE INDEX sip_ladders_station ON sip_ladders (station, began_at) WHERE station IS NOT NULL;
