-- One row: the tasks of the snapshot at time 0, once every event of that microsecond has happened.
-- CPU in millicores, memory in MiB.
WITH present AS (
    SELECT t.cpu_milli, t.memory_mib, a.schedule_us = 0 AS is_running
    FROM attempts AS a
    INNER JOIN numbered_tasks AS t ON t.task = a.task
    WHERE a.submit_us = 0 AND (a.end_us IS NULL OR a.end_us > 0) AND t.alloc IS NULL
)
SELECT
    count(*) FILTER (WHERE is_running) AS running,
    coalesce(sum(cpu_milli) FILTER (WHERE is_running), 0)::BIGINT AS running_cpu_milli,
    coalesce(sum(memory_mib) FILTER (WHERE is_running), 0)::BIGINT AS running_memory_mib,
    count(*) FILTER (WHERE is_running IS NOT TRUE) AS pending,
    coalesce(sum(cpu_milli) FILTER (WHERE is_running IS NOT TRUE), 0)::BIGINT AS pending_cpu_milli,
    coalesce(sum(memory_mib) FILTER (WHERE is_running IS NOT TRUE), 0)::BIGINT AS pending_memory_mib
FROM present
