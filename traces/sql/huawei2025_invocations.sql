-- One row per single call (window_us 0), and one per function and minute (window_us 60 s) for its calls that are not
-- among the single ones, so that every call counts once. In order of time.
WITH listed AS (
    SELECT region, name, start_us // 60000000 AS minute, count(*) AS calls
    FROM {_requests}
    GROUP BY ALL
),

rest AS (
    SELECT
        c.start_us, c.window_us, c.region, c.name, c.count - coalesce(listed.calls, 0) AS count,
        c.filename, c.file_row_number
    FROM {_calls} AS c
    LEFT JOIN listed ON (listed.region, listed.name, listed.minute) = (c.region, c.name, c.start_us // 60000000)
),

calls AS (
    SELECT
        start_us, window_us, region, name, count, NULL::BIGINT AS duration_us, NULL::VARCHAR AS pod,
        NULL::BIGINT AS cpu_milli, NULL::DOUBLE AS memory_mib, filename, file_row_number
    FROM rest
    WHERE count > 0
    UNION ALL
    SELECT
        start_us, window_us, region, name, count, duration_us, pod, cpu_milli, memory_mib, filename, file_row_number
    FROM {_requests}
)

SELECT
    start_us, window_us, numbered.function, count, duration_us, pod, cpu_milli, memory_mib
FROM calls
JOIN numbered USING (region, name)
ORDER BY start_us, numbered.function, window_us, filename, file_row_number
