-- Version 1. Times are RFC 3339 in UTC; JSON has the form of the crate's types.
CREATE TABLE requests (
    id           INTEGER PRIMARY KEY,
    channel      TEXT NOT NULL,
    git          TEXT NOT NULL,
    recipe       TEXT NOT NULL,
    force        INTEGER NOT NULL,
    retry_failed INTEGER NOT NULL,
    -- waiting, taken, or closed
    state        TEXT NOT NULL CHECK (state IN ('waiting', 'taken', 'closed')),
    closed_at    TEXT,
    closed       TEXT
) STRICT;
CREATE INDEX requests_channel ON requests (channel, id);
CREATE INDEX requests_waiting ON requests (id) WHERE state = 'waiting';

-- The reasons and requesters of requests.
CREATE TABLE reasons (
    request INTEGER NOT NULL REFERENCES requests (id),
    number  INTEGER NOT NULL,
    at      TEXT NOT NULL,
    cause   TEXT NOT NULL,
    uid     INTEGER,
    detail  TEXT NOT NULL,
    PRIMARY KEY (request, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id            INTEGER PRIMARY KEY,
    request       INTEGER NOT NULL REFERENCES requests (id),
    started       TEXT NOT NULL,
    build         TEXT,
    interruptions INTEGER NOT NULL DEFAULT 0,
    ended         TEXT,
    outcome       TEXT,
    detail        TEXT
) STRICT;
CREATE INDEX runs_request ON runs (request);
CREATE INDEX runs_open ON runs (id) WHERE ended IS NULL;

CREATE TABLE phases (
    run      INTEGER NOT NULL REFERENCES runs (id),
    number   INTEGER NOT NULL,
    name     TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    started  TEXT NOT NULL,
    finished TEXT,
    status   TEXT,
    PRIMARY KEY (run, number),
    UNIQUE (run, name)
) STRICT, WITHOUT ROWID;

-- The memory of each watch: its last tick, the heads, the commits that wait for a build.
CREATE TABLE marks (
    key  TEXT PRIMARY KEY,
    mark TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The last outcome of each channel, and the commits of its newest published build.
CREATE TABLE channels (
    channel TEXT PRIMARY KEY,
    ended   TEXT,
    build   TEXT,
    result  TEXT,
    good    TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE built (
    channel    TEXT NOT NULL,
    number     INTEGER NOT NULL,
    repository TEXT NOT NULL,
    url        TEXT,
    commit_id  TEXT NOT NULL,
    PRIMARY KEY (channel, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE alarms (
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    since   TEXT NOT NULL,
    text    TEXT NOT NULL,
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
