-- Grain: one row per cell of the heat map: the machines of a pool in the order of their numbers, so many to a cell that
-- there are at most $cells cells. requested: mean over the cell of the higher of the two requested shares.
WITH sized AS (
    SELECT
        node,
        share_cpu_milli AS cpu,
        share_memory_mib AS memory,
        capacity_cpu_milli AS cpu_milli,
        capacity_memory_mib AS memory_mib,
        row_number() OVER (PARTITION BY capacity_cpu_milli, capacity_memory_mib ORDER BY node) - 1 AS place,
        greatest((count(*) OVER () + $cells - 1) // $cells, 1) AS per_cell
    FROM nodes
)
SELECT
    cpu_milli,
    memory_mib,
    place // per_cell AS cell,
    min(node) AS first_node,
    max(node) AS last_node,
    count(*) AS machines,
    avg(cpu) AS cpu,
    avg(memory) AS memory,
    avg(greatest(cpu, memory)) AS requested
FROM sized
GROUP BY cpu_milli, memory_mib, place // per_cell
ORDER BY cpu_milli DESC, memory_mib DESC, cell
