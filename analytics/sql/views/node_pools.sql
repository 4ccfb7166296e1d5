-- Grain: one row per pool: machines of one size. machines: how many. cpu, memory: mean requested share of what they
-- offer. *_left_over: mean share of a resource that is left when the machine's scarcer resource is used up at the
-- present mix (highest requested share less its own): capacity that no pod of that mix can use.
WITH sized AS (
    SELECT
        *,
        capacity_cpu_milli AS cpu_milli,
        capacity_memory_mib AS memory_mib,
        greatest(share_cpu_milli, share_memory_mib) AS highest
    FROM nodes
)
SELECT
    cpu_milli,
    memory_mib,
    count(*) AS machines,
    avg(share_cpu_milli) AS cpu,
    avg(share_memory_mib) AS memory,
    avg(least(highest, 1) - least(share_cpu_milli, 1)) AS cpu_left_over,
    avg(least(highest, 1) - least(share_memory_mib, 1)) AS memory_left_over,
    sum((least(highest, 1) - least(share_cpu_milli, 1)) * cpu_milli) AS cpu_left_over_milli,
    sum((least(highest, 1) - least(share_memory_mib, 1)) * memory_mib) AS memory_left_over_mib
FROM sized
GROUP BY cpu_milli, memory_mib
ORDER BY machines DESC, cpu_milli, memory_mib
