-- Version 4. Each value is JSON of the type named above its table; kinds, keys and channels are columns for queries.
-- The entries of `State`: a row for each entry of its maps, under the entry's key, and `last_id` under an empty key.
CREATE TABLE state (
    part  TEXT NOT NULL CHECK (
        part IN ('last_id', 'marks', 'queue', 'runs', 'verdicts', 'last', 'alarms', 'messages')
    ),
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (part, key)
) STRICT;

-- A `Filed` for each request that ended or has runs that ended, and a `FiledVerdict` for each verdict that ended.
CREATE TABLE history (
    id      INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL CHECK (kind IN ('request', 'verdict')),
    channel TEXT NOT NULL,
    value   TEXT NOT NULL
) STRICT;
CREATE INDEX history_channel ON history (kind, channel, id);
