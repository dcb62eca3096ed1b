-- +goose Up

-- Dialers on this database. A slot is a place for one process; the epoch grows
-- with each start, so that what an earlier run left can be told from ours.
CREATE SEQUENCE epochs;
CREATE TABLE nodes (
    slot       int PRIMARY KEY CHECK (slot > 0),
    epoch      bigint NOT NULL UNIQUE,
    started_at timestamptz NOT NULL DEFAULT now()
);
-- The last group of saves that a run has committed: a retry after a commit of
-- which nobody knows the result applies nothing twice.
CREATE TABLE saved_batches (
    slot  int PRIMARY KEY REFERENCES nodes,
    epoch bigint NOT NULL,
    batch bigint NOT NULL
);

CREATE TABLE trunks (
    id            text PRIMARY KEY CHECK (id LIKE 'trk\_%'),
    name          text NOT NULL UNIQUE CHECK (name <> ''),
    address       text NOT NULL CHECK (address <> ''),
    username      text NOT NULL DEFAULT '',
    password      text NOT NULL DEFAULT '',
    realm         text NOT NULL DEFAULT '',
    from_domain   text NOT NULL DEFAULT '',
    channels      int NOT NULL CHECK (channels > 0),
    cps           double precision NOT NULL CHECK (cps > 0),
    codecs        text[] NOT NULL DEFAULT '{}',
    media_sources text[] NOT NULL DEFAULT '{}',
    enabled       boolean NOT NULL,
    version       int NOT NULL DEFAULT 1
);

CREATE TABLE agents (
    id            text PRIMARY KEY CHECK (id LIKE 'agt\_%'),
    name          text NOT NULL,
    extension     text UNIQUE CHECK (extension <> ''),
    sip_ha1       text NOT NULL DEFAULT '',
    uri           text NOT NULL DEFAULT '',
    state         text NOT NULL DEFAULT 'logged_out'
                  CHECK (state IN ('logged_out', 'not_ready', 'ready', 'reserved', 'talking', 'wrap_up')),
    state_version int NOT NULL DEFAULT 0,
    state_since   timestamptz NOT NULL DEFAULT now(),
    state_reason  text NOT NULL DEFAULT '',
    call_id       text,
    slot          int REFERENCES nodes -- where the session is
);

CREATE TABLE campaigns (
    id         text PRIMARY KEY CHECK (id LIKE 'cmp\_%'),
    state      text NOT NULL CHECK (state IN ('draft', 'running', 'paused', 'stopped', 'completed')),
    version    int NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    settings   jsonb NOT NULL,
    CHECK (state NOT IN ('running', 'paused') OR started_at IS NOT NULL)
);
CREATE INDEX campaigns_open ON campaigns (id) WHERE state IN ('running', 'paused');

CREATE TABLE agent_campaigns (
    agent_id    text NOT NULL REFERENCES agents ON DELETE CASCADE,
    campaign_id text NOT NULL REFERENCES campaigns,
    PRIMARY KEY (agent_id, campaign_id)
);

CREATE TABLE lists (
    id          text PRIMARY KEY CHECK (id LIKE 'lst\_%'),
    campaign_id text NOT NULL REFERENCES campaigns,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL,
    UNIQUE (id, campaign_id)
);
CREATE INDEX lists_campaign ON lists (campaign_id, id);

-- Leads are updated at every step: room on each page keeps most of that out of
-- the indexes, and vacuum comes early.
CREATE TABLE leads (
    id           text PRIMARY KEY CHECK (id LIKE 'led\_%'),
    list_id      text NOT NULL,
    campaign_id  text NOT NULL,
    external_id  text NOT NULL DEFAULT '',
    number       text NOT NULL CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    zone         text NOT NULL DEFAULT '',
    fields       jsonb NOT NULL DEFAULT '{}',
    priority     int NOT NULL DEFAULT 0 CHECK (priority BETWEEN -1000 AND 1000),
    state        text NOT NULL CHECK (state IN ('dialable', 'claimed', 'calling', 'done')),
    due          timestamptz NOT NULL,
    why          text NOT NULL DEFAULT '',
    owner_id     text REFERENCES agents ON DELETE SET NULL,
    attempts     int NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    by_outcome   jsonb NOT NULL DEFAULT '{}',
    recent       timestamptz[] NOT NULL DEFAULT '{}',
    last_outcome text NOT NULL DEFAULT '',
    claim_slot   int,
    claim_epoch  bigint,
    UNIQUE (list_id, number),
    FOREIGN KEY (list_id, campaign_id) REFERENCES lists (id, campaign_id),
    CHECK ((state = 'claimed') = (claim_slot IS NOT NULL AND claim_epoch IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX leads_due ON leads (campaign_id, priority, due, id) WHERE state = 'dialable' AND owner_id IS NULL;
CREATE INDEX leads_callbacks ON leads (campaign_id, owner_id, due) WHERE state = 'dialable' AND owner_id IS NOT NULL;
CREATE INDEX leads_claims ON leads (claim_slot) WHERE state = 'claimed';
CREATE INDEX leads_list ON leads (list_id, id);
CREATE INDEX leads_external ON leads (list_id, external_id) WHERE external_id <> '';

CREATE TABLE imports (
    id         text PRIMARY KEY CHECK (id LIKE 'imp\_%'),
    list_id    text NOT NULL REFERENCES lists,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    rows       int NOT NULL DEFAULT 0,
    created    int NOT NULL DEFAULT 0,
    updated    int NOT NULL DEFAULT 0,
    skipped    int NOT NULL DEFAULT 0,
    rejected   int NOT NULL DEFAULT 0,
    error      text NOT NULL DEFAULT '',
    CHECK (ended_at IS NULL OR error <> '' OR rows = created + updated + skipped + rejected),
    CHECK (error = '' OR ended_at IS NOT NULL)
);
CREATE INDEX imports_list ON imports (list_id, id);
CREATE TABLE import_rejects (
    import_id text NOT NULL REFERENCES imports,
    line      int NOT NULL,
    field     text NOT NULL,
    reason    text NOT NULL,
    text      text NOT NULL,
    PRIMARY KEY (import_id, line)
);

-- One row for each attempt. The id holds its time of making, so it is unique
-- over all days; the key needs placed_at because the table is cut by it.
CREATE TABLE calls (
    id                 text NOT NULL CHECK (id LIKE 'cal\_%'),
    placed_at          timestamptz NOT NULL,
    version            int NOT NULL,
    campaign_id        text NOT NULL,
    list_id            text NOT NULL,
    lead_id            text NOT NULL,
    trunk_id           text NOT NULL DEFAULT '',
    agent_id           text,
    mode               text NOT NULL,
    to_number          text NOT NULL,
    from_number        text NOT NULL,
    attempt            int NOT NULL,
    state              text NOT NULL CHECK (state IN ('placed', 'ringing', 'answered', 'queued', 'connected', 'ended')),
    outcome            text,
    class              text,
    rules              text NOT NULL DEFAULT '',
    answered_by        text NOT NULL DEFAULT '',
    answered_by_source text NOT NULL DEFAULT '',
    verdict            text NOT NULL DEFAULT '',
    verdict_reason     text NOT NULL DEFAULT '',
    sent_at            timestamptz,
    ringing_at         timestamptz,
    answered_at        timestamptz,
    speech_start_at    timestamptz,
    greeting_end_at    timestamptz,
    decided_at         timestamptz,
    connected_at       timestamptz,
    message_start_at   timestamptz,
    message_end_at     timestamptz,
    message_sha        text NOT NULL DEFAULT '',
    opt_out_at         timestamptz,
    ended_at           timestamptz,
    ended_by           text NOT NULL DEFAULT '',
    cause              text NOT NULL DEFAULT '',
    sip_status         int NOT NULL DEFAULT 0,
    q850               int NOT NULL DEFAULT 0,
    ghost              boolean NOT NULL DEFAULT false,
    disposition        text NOT NULL DEFAULT '',
    note               text NOT NULL DEFAULT '',
    disposed_at        timestamptz,
    recording          text NOT NULL DEFAULT '',
    media              jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (id, placed_at),
    CHECK ((state = 'ended') = (outcome IS NOT NULL)),
    CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
    CHECK (state <> 'ended' OR class IS NOT NULL)
) PARTITION BY RANGE (placed_at);
CREATE INDEX calls_campaign ON calls (campaign_id, placed_at) INCLUDE (class, outcome);
CREATE INDEX calls_number ON calls (to_number, placed_at);
CREATE INDEX calls_lead ON calls (lead_id, placed_at);
CREATE INDEX calls_agent ON calls (agent_id, placed_at) WHERE agent_id IS NOT NULL;
CREATE INDEX calls_placed ON calls (placed_at, id);

CREATE TABLE calls_default PARTITION OF calls DEFAULT;

-- Makes the partitions of yesterday, today and the days ahead (UTC). A day whose
-- rows went to the default partition stays there.
-- +goose StatementBegin
CREATE FUNCTION make_call_partitions(ahead int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    made  int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('make_call_partitions'));
    FOR day IN -1 .. ahead LOOP
        CONTINUE WHEN to_regclass(format('calls_%s', to_char(today + day, 'YYYYMMDD'))) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE TABLE calls_%s PARTITION OF calls FOR VALUES FROM (%L) TO (%L)',
                to_char(today + day, 'YYYYMMDD'),
                to_char(today + day, 'YYYY-MM-DD') || ' 00:00:00+00',
                to_char(today + day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'calls of % are in the default partition', today + day;
        END;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd

-- A call only goes forward, and what has ended stays ended as it did.
-- +goose StatementBegin
CREATE FUNCTION call_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    states constant text[] := '{placed,ringing,answered,queued,connected,ended}';
BEGIN
    IF array_position(states, NEW.state) < array_position(states, OLD.state) THEN
        RAISE EXCEPTION 'call % may not go from % back to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.outcome IS NOT NULL AND (NEW.ended_at <> OLD.ended_at OR NEW.outcome <> OLD.outcome) THEN
        RAISE EXCEPTION 'call % has ended as % already', OLD.id, OLD.outcome USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.version <= OLD.version THEN
        RAISE EXCEPTION 'call % has version % already', OLD.id, OLD.version USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER calls_go_forward BEFORE UPDATE ON calls FOR EACH ROW EXECUTE FUNCTION call_goes_forward();

-- How many calls that were placed in an hour are of a class and an outcome (empty:
-- none yet). Pacing asks for the counts of 30 days every few seconds: it may not
-- take longer the more calls there are. Nothing else writes here than the trigger,
-- so it always says what a count of calls would.
CREATE TABLE campaign_tally (
    campaign_id text NOT NULL,
    hour        timestamptz NOT NULL,
    class       text NOT NULL,
    outcome     text NOT NULL,
    n           bigint NOT NULL,
    PRIMARY KEY (campaign_id, hour, class, outcome)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
-- +goose StatementBegin
CREATE FUNCTION call_tallied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.class IS NOT NULL OR OLD.outcome IS NOT NULL) THEN
        UPDATE campaign_tally SET n = n - 1 WHERE campaign_id = OLD.campaign_id AND hour = date_trunc('hour', OLD.placed_at, 'UTC')
            AND class = coalesce(OLD.class, '') AND outcome = coalesce(OLD.outcome, '');
    END IF;
    IF NEW.class IS NOT NULL OR NEW.outcome IS NOT NULL THEN
        INSERT INTO campaign_tally AS t VALUES (NEW.campaign_id, date_trunc('hour', NEW.placed_at, 'UTC'),
            coalesce(NEW.class, ''), coalesce(NEW.outcome, ''), 1)
        ON CONFLICT (campaign_id, hour, class, outcome) DO UPDATE SET n = t.n + 1;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER calls_tallied_new AFTER INSERT ON calls FOR EACH ROW
    WHEN (NEW.class IS NOT NULL) EXECUTE FUNCTION call_tallied();
CREATE TRIGGER calls_tallied AFTER UPDATE ON calls FOR EACH ROW
    WHEN (OLD.class IS DISTINCT FROM NEW.class OR OLD.outcome IS DISTINCT FROM NEW.outcome) EXECUTE FUNCTION call_tallied();

-- Attempts that have not ended: what must never be twice is unique here. The
-- row goes in the transaction that ends the call.
CREATE TABLE open_attempts (
    call_id   text PRIMARY KEY,
    placed_at timestamptz NOT NULL,
    lead_id   text NOT NULL UNIQUE REFERENCES leads,
    number    text NOT NULL UNIQUE,
    agent_id  text UNIQUE,
    trunk_id  text NOT NULL DEFAULT '',
    slot      int NOT NULL REFERENCES nodes,
    epoch     bigint NOT NULL,
    dialog    bytea,
    next      jsonb, -- where a disposition given before the end sends the lead
    ghost_at  timestamptz, -- answered when it had been given up; done at the end
    FOREIGN KEY (call_id, placed_at) REFERENCES calls (id, placed_at)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX open_attempts_slot ON open_attempts (slot);

-- Calls of a dead run that may still be up, so that a start which dies before
-- it hung them up leaves the work to the next one.
CREATE TABLE hangups (
    call_id    text PRIMARY KEY,
    placed_at  timestamptz NOT NULL,
    slot       int NOT NULL REFERENCES nodes,
    epoch      bigint NOT NULL, -- that settled the call
    settled_at timestamptz NOT NULL,
    dialog     bytea NOT NULL
);

-- The log. Rows are numbered under one lock, so that they become visible in the
-- order of seq, and are never changed.
CREATE TABLE events (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    campaign_id text,
    lead_id     text,
    call_id     text,
    agent_id    text,
    kind        text NOT NULL,
    data        jsonb NOT NULL
);
CREATE INDEX events_call ON events (call_id, seq) WHERE call_id IS NOT NULL;
-- +goose StatementBegin
CREATE FUNCTION events_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_stay();

CREATE TABLE dnc (
    number      text NOT NULL CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    campaign_id text REFERENCES campaigns, -- null: all campaigns
    source      text NOT NULL,
    added_at    timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (number, campaign_id)
);

CREATE TABLE users (
    id            text PRIMARY KEY CHECK (id LIKE 'usr\_%'),
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('agent', 'supervisor', 'manager', 'compliance', 'admin')),
    agent_id      text REFERENCES agents ON DELETE SET NULL,
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_name ON users (lower(name));

CREATE TABLE api_keys (
    id         text PRIMARY KEY CHECK (id LIKE 'key\_%'),
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('agent', 'supervisor', 'manager', 'compliance', 'admin')),
    hash       bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

CREATE TABLE sip_bindings (
    aor        text PRIMARY KEY,
    contact    text NOT NULL,
    source     text NOT NULL,
    call_id    text NOT NULL,
    cseq       bigint NOT NULL,
    expires    timestamptz NOT NULL,
    user_agent text NOT NULL
);

CREATE TABLE assets (
    sha256     text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    name       text NOT NULL,
    bytes      bytea NOT NULL,
    created_at timestamptz NOT NULL
);

-- Answers to requests with an Idempotency-Key. No status: still worked on.
CREATE TABLE replays (
    who        text NOT NULL,
    key        text NOT NULL,
    route      text NOT NULL,
    body_hash  bytea NOT NULL CHECK (length(body_hash) = 32),
    claimed_at timestamptz NOT NULL,
    status     int,
    type       text NOT NULL DEFAULT '',
    location   text NOT NULL DEFAULT '',
    etag       text NOT NULL DEFAULT '',
    body       bytea,
    PRIMARY KEY (who, key)
);
CREATE INDEX replays_age ON replays (claimed_at);
