-- One row per region and trigger: functions, invocations (of windows, and single ones), cold starts and their mean, s.
WITH called AS (
    SELECT
        function, coalesce(sum(count) FILTER (window_us > 0), 0)::BIGINT AS invocations,
        count(*) FILTER (window_us = 0) AS single_invocations
    FROM invocations
    GROUP BY ALL
),

started AS (
    SELECT function, count(*) AS cold_starts, sum(total_us) AS total_us
    FROM cold_starts
    GROUP BY ALL
)

SELECT
    region, trigger, count(*) AS functions, coalesce(sum(invocations), 0)::BIGINT AS invocations,
    coalesce(sum(single_invocations), 0)::BIGINT AS single_invocations,
    coalesce(sum(cold_starts), 0)::BIGINT AS cold_starts,
    round(sum(total_us)::DOUBLE / sum(cold_starts) / 1e6, 4) AS mean_cold_start_s
FROM functions
LEFT JOIN called USING (function)
LEFT JOIN started USING (function)
GROUP BY ALL
ORDER BY region, functions DESC, trigger
