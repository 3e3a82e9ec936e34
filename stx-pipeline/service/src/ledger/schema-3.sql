-- Version 3: verdicts on published builds. `detail` is the request for a verdict, `outcome` the way it ended.
CREATE TABLE verdicts (
    id      INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    detail  TEXT NOT NULL,
    ended   TEXT,
    outcome TEXT
) STRICT;
CREATE INDEX verdicts_channel ON verdicts (channel, id);
CREATE INDEX verdicts_open ON verdicts (id) WHERE ended IS NULL;
