-- Grain: one row per attempt of $tier, the $most that waited longest. arrived_h, started_h: hours since the window
-- opened, no start if it was not placed in it; end: how it ended.
SELECT
    job::VARCHAR AS job,
    task_index,
    tenant,
    priority,
    cpu_milli,
    memory_mib,
    waited_us / 1e6 AS waited_s,
    (submit_us - opens_us) / 3.6e9 AS arrived_h,
    (start_us - opens_us) / 3.6e9 AS started_h,
    "end" AS ended,
    node::VARCHAR AS node
FROM attempts, run_window
WHERE tier = $tier AND NOT initial
ORDER BY waited_us DESC, task, attempt
LIMIT $most
