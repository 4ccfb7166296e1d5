-- One row per stretch of whole hours without a single invocation or cold start between others, hours from the start.
WITH hours AS (
    SELECT DISTINCT start_us // 3600000000 AS hour
    FROM invocations
    UNION
    SELECT DISTINCT time_us // 3600000000 AS hour
    FROM cold_starts
),

followed AS (SELECT hour, lead(hour) OVER (ORDER BY hour) AS next_hour FROM hours)

SELECT hour + 1 AS from_hour, next_hour AS to_hour, next_hour - hour - 1 AS hours
FROM followed
WHERE next_hour > hour + 1
ORDER BY from_hour
