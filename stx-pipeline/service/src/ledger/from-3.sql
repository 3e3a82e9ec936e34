-- Moves the rows of version 3 into the tables of version 4. Texts that are JSON or times are not changed. `json` encloses subqueries,
-- because their results are texts and no longer JSON.
CREATE TEMP VIEW old_runs AS
SELECT id, request, ended, json_object(
    'id', id,
    'started', started,
    'build', build,
    'interruptions', interruptions,
    'phases', json((
        SELECT json_group_array(
            json_object('name', name, 'attempts', attempts, 'started', started, 'finished', finished, 'status', status)
            ORDER BY number
        )
        FROM phases WHERE run = runs.id
    )),
    'end', json(detail)
) AS value
FROM runs;

CREATE TEMP VIEW old_requests AS
SELECT id, channel, state, closed_at, closed, json_object(
    'id', id,
    'channel', channel,
    'git', git,
    'recipe', recipe,
    'force', json(iif(force, 'true', 'false')),
    'retry_failed', json(iif(retry_failed, 'true', 'false')),
    'reasons', json((SELECT json_group_array(json(detail) ORDER BY number) FROM reasons WHERE request = requests.id)),
    'more_reasons', more_reasons
) AS value
FROM requests;

INSERT INTO state
SELECT 'last_id', '', ifnull(max(id), 0)
FROM (SELECT id FROM requests UNION ALL SELECT id FROM runs UNION ALL SELECT id FROM verdicts);
INSERT INTO state SELECT 'marks', key, mark FROM marks;
INSERT INTO state SELECT 'queue', id, value FROM old_requests WHERE state = 'waiting';
INSERT INTO state
SELECT 'runs', old_runs.id, json_set(old_runs.value, '$.request', json(old_requests.value))
FROM old_runs JOIN old_requests ON old_requests.id = request WHERE ended IS NULL;
INSERT INTO state SELECT 'verdicts', id, detail FROM verdicts WHERE ended IS NULL;
INSERT INTO state
SELECT 'last', channel, json_object(
    'end', json(ended),
    'build', build,
    'result', result,
    'good', good,
    'sources', json((
        SELECT json_group_array(json_object('path', repository, 'url', url, 'commit', commit_id) ORDER BY number)
        FROM built WHERE channel = channels.channel
    ))
)
FROM channels;
INSERT INTO state
SELECT 'alarms', json_object('kind', kind, 'subject', subject), json_array(since, text) FROM alarms;
INSERT INTO state SELECT 'messages', id, json_quote(id) FROM messages;

-- All requests. For requests that wait or run, the entry in `state` takes precedence.
INSERT INTO history
SELECT id, 'request', channel, json_set(
    value,
    '$.closed', iif(state = 'closed', json_array(closed_at, json(closed)), NULL),
    '$.runs', json((
        SELECT json_group_array(json(old_runs.value) ORDER BY old_runs.id)
        FROM old_runs WHERE request = old_requests.id AND ended IS NOT NULL
    ))
)
FROM old_requests;
INSERT INTO history
SELECT id, 'verdict', channel, json_set(detail, '$.end', json(outcome)) FROM verdicts WHERE ended IS NOT NULL;

DROP VIEW old_runs; DROP VIEW old_requests;
DROP TABLE phases; DROP TABLE runs; DROP TABLE reasons; DROP TABLE requests;
DROP TABLE built; DROP TABLE channels;
DROP TABLE marks; DROP TABLE alarms; DROP TABLE messages; DROP TABLE verdicts;
