-- One row per function and minute with traffic, in order of (start_us, function).
SELECT
    m.start_us, m.window_us, mentions.function, m.count, mentions.duration_us, NULL::VARCHAR AS pod,
    NULL::BIGINT AS cpu_milli, NULL::DOUBLE AS memory_mib
FROM {_minutes} AS m
JOIN mentions USING (day, row)
ORDER BY m.start_us, mentions.function
