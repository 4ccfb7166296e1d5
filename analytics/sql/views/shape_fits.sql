-- Grain: one row per sampled time and common request shape, the $most most common: how many more of it fit.
-- hour: since the window opened. shape: its number, as in shapes.sql.
WITH numbered AS (
    SELECT *, row_number() OVER (PARTITION BY time_us ORDER BY weight DESC, cpu_milli, memory_mib, gpu_milli) AS shape
    FROM shapes
)
SELECT (time_us - opens_us) / 3.6e9 AS hour, shape, cpu_milli, memory_mib, gpu_milli, fits
FROM numbered, run_window
WHERE shape <= $most
ORDER BY hour, shape
