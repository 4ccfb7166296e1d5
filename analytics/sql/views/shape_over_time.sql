-- Grain: one row per sampled instant of a run. How many tasks of $cpu_milli, $memory_mib, $disk_mib and $gpu_milli would
-- fit, from the counts of the common shapes: at_least by a shape so large that it holds some of them, at_most by a shape
-- so small that each of them holds some. NULL where no common shape says anything.
WITH ratio AS (
    SELECT
        time_us,
        fits,
        least(
            CASE WHEN $cpu_milli > 0 THEN cpu_milli // $cpu_milli END,
            CASE WHEN $memory_mib > 0 THEN memory_mib // $memory_mib END,
            CASE WHEN $disk_mib > 0 THEN disk_mib // $disk_mib END,
            CASE WHEN $gpu_milli > 0 THEN gpu_milli // $gpu_milli END
        ) AS holds,
        least(
            CASE WHEN cpu_milli > 0 THEN $cpu_milli // cpu_milli END,
            CASE WHEN memory_mib > 0 THEN $memory_mib // memory_mib END,
            CASE WHEN disk_mib > 0 THEN $disk_mib // disk_mib END,
            CASE WHEN gpu_milli > 0 THEN $gpu_milli // gpu_milli END
        ) AS held
    FROM shapes
)
SELECT
    (time_us - opens_us) / 3.6e9 AS hour,
    max(nullif(holds, 0) * fits) AS at_least,
    min(fits // nullif(held, 0)) AS at_most
FROM ratio, run_window
GROUP BY time_us, opens_us
ORDER BY hour
