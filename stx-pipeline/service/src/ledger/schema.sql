-- Version 4. A value is JSON of the type that the comment of its table names; kinds, keys and channels are columns for queries.
-- The entries of `State`: those of its maps by their keys, and `last_id` with an empty key.
CREATE TABLE state (
    part  TEXT NOT NULL CHECK (
        part IN ('last_id', 'marks', 'queue', 'runs', 'verdicts', 'last', 'alarms', 'messages')
    ),
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (part, key)
) STRICT;

-- A `Filed` for each request that ended or has ended runs, a `FiledVerdict` for each verdict that ended.
CREATE TABLE history (
    id      INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL CHECK (kind IN ('request', 'verdict')),
    channel TEXT NOT NULL,
    value   TEXT NOT NULL
) STRICT;
CREATE INDEX history_channel ON history (kind, channel, id);
