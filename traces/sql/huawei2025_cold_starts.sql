-- One row per cold start, in order of time.
SELECT
    time_us, numbered.function, cluster, pool, pod, TRY_CAST(split_part(pool, '-', 2) AS BIGINT) AS cpu_milli,
    TRY_CAST(split_part(pool, '-', 3) AS BIGINT) AS memory_mib, total_us, pod_allocation_us, deploy_code_us,
    deploy_dependency_us, scheduling_us, request
FROM {_cold_starts}
JOIN numbered USING (region, name)
ORDER BY time_us, numbered.function, filename, file_row_number
