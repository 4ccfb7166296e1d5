-- Grain: one row per attempt that started on $node, the $most that ran longest: what it asked for and when it ran, in
-- hours since the window opened; no end while it still runs.
SELECT
    job,
    task_index,
    tier,
    tenant,
    cpu_milli,
    memory_mib,
    (coalesce(last_start_us, start_us) - opens_us) / 3.6e9 AS started_h,
    (end_us - opens_us) / 3.6e9 AS ended_h,
    "end"
FROM attempts, run_window
WHERE node = $node
ORDER BY coalesce(end_us, closes_us) - coalesce(last_start_us, start_us) DESC, job, task_index
LIMIT $most
