-- Finds damaged rows that the schema of version 3 allows: the name of each row, and its damage.
SELECT 'request ' || request, 'one of its reasons is missing' FROM reasons
GROUP BY request HAVING min(number) <> 0 OR max(number) <> count(*) - 1
UNION ALL
SELECT 'run ' || run, 'one of its phases is missing' FROM phases
GROUP BY run HAVING min(number) <> 0 OR max(number) <> count(*) - 1
UNION ALL
SELECT 'channel ' || channel, 'one of its sources is missing' FROM built
GROUP BY channel HAVING min(number) <> 0 OR max(number) <> count(*) - 1
UNION ALL
SELECT 'channel ' || channel, 'it has sources and no row' FROM built
WHERE channel NOT IN (SELECT channel FROM channels)
UNION ALL
SELECT 'request ' || id, 'it is closed without a time or a way, or has one and is not' FROM requests
WHERE (state = 'closed') <> (closed_at IS NOT NULL) OR (state = 'closed') <> (closed IS NOT NULL)
UNION ALL
SELECT 'run ' || id, 'only one of the columns ended and detail is set' FROM runs
WHERE (ended IS NULL) <> (detail IS NULL)
UNION ALL
SELECT 'run ' || id, 'its request is not taken' FROM runs
WHERE ended IS NULL AND request NOT IN (SELECT id FROM requests WHERE state = 'taken')
UNION ALL
SELECT 'verdict ' || id, 'the columns ended and outcome do not agree' FROM verdicts
WHERE ended IS NOT iif(json_valid(outcome), outcome ->> 'at', outcome)
UNION ALL
SELECT 'verdict ' || id, 'its number or its channel is that of another one' FROM verdicts
JOIN (SELECT id AS row, iif(json_valid(detail), detail, NULL) AS json FROM verdicts) ON row = id
-- `rtrim` removes the last component of the build's path.
WHERE id IS NOT json ->> 'id'
    OR rtrim(json ->> 'build', replace(json ->> 'build', '/', '')) IS NOT channel || '/'
UNION ALL
SELECT 'a row of ' || "table", 'it belongs to none of ' || parent FROM pragma_foreign_key_check
UNION ALL
SELECT part || ' ' || id, 'its text is not JSON: ' || text FROM (
    SELECT 'reason of request' AS part, request AS id, detail AS text FROM reasons
    UNION ALL SELECT 'end of request', id, closed FROM requests
    UNION ALL SELECT 'end of run', id, detail FROM runs
    UNION ALL SELECT 'channel', channel, ended FROM channels
    UNION ALL SELECT 'verdict', id, detail FROM verdicts
    UNION ALL SELECT 'verdict', id, outcome FROM verdicts
)
WHERE NOT json_valid(text);
