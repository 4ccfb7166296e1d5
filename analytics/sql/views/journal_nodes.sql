-- Grain: one row per node whose health mark changed, the newest $most: its last state, since when (UTC), what was done
-- about it, why, and how many changes there were.
SELECT
    node,
    arg_max(verdict, time_us) AS state,
    make_timestamp(max(time_us)) AS since_utc,
    arg_max(reason, time_us) AS answer,
    arg_max(message, time_us) AS why,
    count(*) AS changes
FROM journal
WHERE kind = 'node'
GROUP BY node
ORDER BY since_utc DESC, node
LIMIT $most
