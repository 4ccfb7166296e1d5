-- Grain: one row per bin of time, of width $bin_us. What the cluster did over the run: means over the bin's samples.
-- pending, running: tasks. nodes: nodes up. cpu, memory: share of what is installed that is requested; *_used: measured.
-- *_stranded: share of what is installed that is free on nodes where another resource is used up.
SELECT
    ((time_us - opens_us) // $bin_us) * $bin_us / 3.6e9 AS hour,
    avg(pending) AS pending,
    avg(running) AS running,
    avg(nodes) AS nodes,
    sum(requested_cpu_milli) / sum(capacity_cpu_milli) AS cpu_requested,
    sum(used_cpu_milli) / sum(capacity_cpu_milli) AS cpu_used,
    sum(stranded_cpu_milli) / sum(capacity_cpu_milli) AS cpu_stranded,
    sum(requested_memory_mib) / sum(capacity_memory_mib) AS memory_requested,
    sum(used_memory_mib) / sum(capacity_memory_mib) AS memory_used,
    sum(stranded_memory_mib) / sum(capacity_memory_mib) AS memory_stranded
FROM series, run_window
GROUP BY (time_us - opens_us) // $bin_us, opens_us
ORDER BY hour
