-- One row per tier: waits in seconds from SUBMIT to the SCHEDULE that answered it.
-- Attempts of the snapshot (submitted at 0) are left out: their wait is not recorded.
WITH waits AS (
    SELECT t.priority, (a.schedule_us - a.submit_us) / 1e6 AS wait_s
    FROM attempts AS a
    INNER JOIN numbered_tasks AS t ON t.task = a.task
    WHERE a.submit_us > 0 AND a.schedule_us < 9223372036854775807
)
SELECT
    tiers.name AS tier,
    count(*) AS n,
    quantile_cont(wait_s, 0.5) AS p50,
    quantile_cont(wait_s, 0.9) AS p90,
    quantile_cont(wait_s, 0.99) AS p99
FROM waits
INNER JOIN tiers ON waits.priority BETWEEN tiers.low AND tiers.high
GROUP BY tiers.name, tiers.low
ORDER BY tiers.low
