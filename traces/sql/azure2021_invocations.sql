-- One row per invocation, in order of its start.
SELECT
    start_us, 0::BIGINT AS window_us, numbered.function, 1::BIGINT AS count, duration_us, NULL::VARCHAR AS pod,
    NULL::BIGINT AS cpu_milli, NULL::DOUBLE AS memory_mib
FROM {_calls}
JOIN numbered USING (app, name)
ORDER BY start_us, numbered.function, filename, file_row_number
