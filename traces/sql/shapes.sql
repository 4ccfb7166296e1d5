-- One row per machine shape as added: how many different machines ever had it. CPU in millicores, memory in MiB;
-- capacities are rounded to 1 % of the largest machine, as the sources print tiny differences of one shape.
WITH largest AS (SELECT max(cpu_milli) AS cpu, max(memory_mib) AS memory FROM machines)
SELECT
    round(round(cpu_milli / largest.cpu, 2) * largest.cpu)::BIGINT AS cpu_milli,
    round(round(memory_mib / largest.memory, 2) * largest.memory)::BIGINT AS memory_mib,
    gpus,
    gpu_model,
    count(DISTINCT machine) AS machines
FROM machines, largest
WHERE event = 'ADD'
GROUP BY ALL
ORDER BY machines DESC, cpu_milli DESC, memory_mib DESC, gpus, gpu_model
