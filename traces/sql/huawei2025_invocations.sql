-- One row per function and minute with calls (window_us 60 s), and one per single call (window_us 0), in order of time.
WITH calls AS (
    SELECT
        start_us, window_us, region, name, count, NULL::BIGINT AS duration_us, NULL::VARCHAR AS pod,
        NULL::BIGINT AS cpu_milli, NULL::DOUBLE AS memory_mib, filename, file_row_number
    FROM {_calls}
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
