-- Grain: one row per plan that nobody has approved or ended yet, the newest first, at most $most.
WITH told AS (
    SELECT *, row_number() OVER (PARTITION BY plan ORDER BY time_us DESC) AS age
    FROM journal
    WHERE kind = 'plan' AND plan <> ''
)
SELECT make_timestamp(time_us) AS time_utc, plan, message
FROM told
WHERE age = 1 AND verdict = 'Proposed'
ORDER BY time_us DESC, plan
LIMIT $most
