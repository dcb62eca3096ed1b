-- +goose Up

-- How likely a person answers, as the list says it; 0 when it does not.
ALTER TABLE leads ADD COLUMN answer_probability double precision NOT NULL DEFAULT 0
    CHECK (answer_probability BETWEEN 0 AND 1);
