-- Grain: one row per plan, the $most newest: first and last word (UTC), its last phase and why, steps by how they ended.
WITH said AS (
    SELECT
        plan,
        make_timestamp(min(time_us)) AS first_utc,
        make_timestamp(max(time_us)) AS last_utc,
        arg_max(verdict, time_us) FILTER (kind = 'plan') AS phase,
        arg_max(reason, time_us) FILTER (kind = 'plan') AS reason,
        arg_max(message, time_us) FILTER (kind = 'plan') AS message,
        count(*) FILTER (kind = 'action' AND verdict <> 'done') AS refused_writes
    FROM journal
    WHERE plan <> '' AND kind IN ('plan', 'step', 'action')
    GROUP BY plan
),
steps AS (
    SELECT plan, namespace, pod, arg_max(verdict, time_us) AS state
    FROM journal
    WHERE kind = 'step'
    GROUP BY ALL
),
counted AS (
    SELECT
        plan,
        count(*) AS steps,
        count(*) FILTER (state = 'bound') AS done,
        count(*) FILTER (state IN ('failed', 'skipped')) AS failed
    FROM steps
    GROUP BY plan
)
SELECT said.*, coalesce(steps, 0) AS steps, coalesce(done, 0) AS done, coalesce(failed, 0) AS failed
FROM said LEFT JOIN counted USING (plan)
ORDER BY last_utc DESC, plan
LIMIT $most
