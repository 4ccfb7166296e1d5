-- One row: how long machines stayed away, in seconds from REMOVE to the next ADD of the same machine.
WITH steps AS (
    SELECT event, time_us, lag(event) OVER life AS before, lag(time_us) OVER life AS before_us
    FROM machines
    WHERE event <> 'UPDATE'
    WINDOW life AS (PARTITION BY machine ORDER BY time_us)
)
SELECT
    count(*) AS n,
    quantile_cont((time_us - before_us) / 1e6, 0.5) AS p50,
    quantile_cont((time_us - before_us) / 1e6, 0.9) AS p90
FROM steps
WHERE event = 'ADD' AND before = 'REMOVE'
