-- Grain: one row per state that a step of the plan $plan was in, in the order they began (UTC): until the step's next
-- state, or the plan's last word.
WITH mine AS (
    SELECT time_us, kind, namespace || '/' || pod AS pod, verdict AS state, reason AS action, node, message
    FROM journal
    WHERE plan = $plan
),
closing AS (SELECT max(time_us) AS last_us FROM mine)
SELECT
    pod,
    action,
    state,
    make_timestamp(time_us) AS begin_utc,
    make_timestamp(coalesce(lead(time_us) OVER (PARTITION BY pod ORDER BY time_us), last_us)) AS end_utc,
    node AS planned_node,
    message
FROM mine, closing
WHERE kind = 'step'
ORDER BY begin_utc, pod
LIMIT $most
