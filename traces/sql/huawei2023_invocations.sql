-- One row per function and window with calls, of the longest windows that its data set comes with.
SELECT
    start_us, window_us, numbered.function, count, NULL::BIGINT AS duration_us, NULL::VARCHAR AS pod,
    NULL::BIGINT AS cpu_milli, NULL::DOUBLE AS memory_mib
FROM {_calls}
JOIN kept USING (region, window_us)
JOIN numbered USING (region, name)
ORDER BY start_us, numbered.function
