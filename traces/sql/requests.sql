-- One row per resource: what SUBMIT events ask for, in millicores and MiB.
WITH asked AS (
    SELECT unnest([{'resource': 'cpu_milli', 'amount': cpu_milli}, {'resource': 'memory_mib', 'amount': memory_mib}],
        recursive := true)
    FROM task_events
    WHERE event = 'SUBMIT'
)
SELECT
    resource,
    count(amount) AS n,
    quantile_cont(amount, 0.1) AS p10,
    quantile_cont(amount, 0.5) AS p50,
    quantile_cont(amount, 0.9) AS p90,
    quantile_cont(amount, 0.99) AS p99,
    max(amount) AS max
FROM asked
GROUP BY resource
ORDER BY resource
