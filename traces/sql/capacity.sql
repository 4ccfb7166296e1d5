-- One row: the machines of the snapshot at time 0 and what they hold. CPU in millicores, memory in MiB.
SELECT
    count(*) AS machines,
    coalesce(sum(cpu_milli), 0)::BIGINT AS cpu_milli,
    coalesce(sum(memory_mib), 0)::BIGINT AS memory_mib,
    sum(gpus)::BIGINT AS gpus,
    count(*) FILTER (WHERE cpu_milli IS NULL OR memory_mib IS NULL) AS without_capacity
FROM machines
WHERE time_us = 0 AND event = 'ADD'
