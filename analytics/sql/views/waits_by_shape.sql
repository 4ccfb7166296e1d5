-- Grain: one row per tier and size, sizes being powers of two (cores, MiB): cpu_milli and memory_mib are the most that a
-- task in the row asks for. tasks: attempts that arrived in the window; waiting: those never placed in it; waited_h: their hours of
-- waiting, all together; p50_s, p99_s: seconds of waiting.
SELECT
    tier,
    CASE WHEN cpu_milli > 0 THEN ceil(1000 * 2 ** ceil(log2(cpu_milli / 1000)))::BIGINT ELSE 0 END AS cpu_milli,
    CASE WHEN memory_mib > 0 THEN (2 ** ceil(log2(memory_mib)))::BIGINT ELSE 0 END AS memory_mib,
    count(*) AS tasks,
    count(*) FILTER (NOT is_placed) AS never_placed,
    sum(waited_us) / 3.6e9 AS waited_h,
    quantile_disc(waited_us, 0.5) / 1e6 AS p50_s,
    quantile_disc(waited_us, 0.99) / 1e6 AS p99_s
FROM attempts
WHERE NOT initial
GROUP BY ALL
ORDER BY tier, cpu_milli, memory_mib
