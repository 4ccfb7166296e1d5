-- One row: the most task events in one second, the snapshot's second left out.
WITH seconds AS (
    SELECT time_us // 1000000 AS second, count(*) AS events
    FROM task_events
    WHERE time_us BETWEEN 1 AND 9223372036854775806
    GROUP BY second
)
SELECT max(events) AS events_in_a_second
FROM seconds
