-- Grain: one row per machine of one size whose number lies between $first and $last, at most $most.
SELECT
    node,
    capacity_cpu_milli AS cpu_milli,
    capacity_memory_mib AS memory_mib,
    share_cpu_milli AS cpu_requested,
    share_memory_mib AS memory_requested,
    busy_s / 3600 AS busy_h
FROM nodes
WHERE node BETWEEN $first AND $last AND capacity_cpu_milli = $cpu_milli AND capacity_memory_mib = $memory_mib
ORDER BY node
LIMIT $most
