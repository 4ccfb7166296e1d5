-- One row: how many tasks the jobs have.
WITH jobs AS (SELECT job, count(*) AS tasks FROM tasks GROUP BY job)
SELECT
    count(*) AS jobs,
    quantile_cont(tasks, 0.5) AS p50,
    quantile_cont(tasks, 0.9) AS p90,
    quantile_cont(tasks, 0.99) AS p99,
    max(tasks) AS max,
    avg(tasks) AS mean
FROM jobs
