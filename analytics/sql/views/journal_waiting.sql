-- Grain: one row per pod whose last word from the planner is that it waits, the newest $most. Since when (UTC) that is
-- its word, and when it was first told to wait.
WITH told AS (
    SELECT
        namespace,
        pod,
        arg_max(verdict, time_us) AS verdict,
        arg_max(message, time_us) AS why,
        arg_max(plan, time_us) AS plan,
        make_timestamp(max(time_us)) AS since_utc,
        make_timestamp(min(time_us) FILTER (verdict IN ('impossible', 'undecided'))) AS first_utc,
        count(*) AS times_told
    FROM journal
    WHERE kind = 'pod'
    GROUP BY namespace, pod
)
SELECT namespace, pod, verdict, since_utc, first_utc, times_told, plan, why
FROM told
WHERE verdict IN ('impossible', 'undecided', 'failed')
ORDER BY since_utc DESC, namespace, pod
LIMIT $most
