-- +goose Up

-- What carriers differ in (telephony.TrunkOptions); absent is the default.
ALTER TABLE trunks ADD COLUMN options jsonb NOT NULL DEFAULT '{}';
