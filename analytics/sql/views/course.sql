-- Grain: one row per bin of time, of width $bin_us. What the cluster held: means over the bin's samples.
-- pending, running: tasks. nodes: nodes up. hour: since the window opened.
SELECT
    ((time_us - opens_us) // $bin_us) * $bin_us / 3.6e9 AS hour,
    avg(pending) AS pending,
    avg(running) AS running,
    avg(nodes) AS nodes
FROM series, run_window
GROUP BY (time_us - opens_us) // $bin_us, opens_us
ORDER BY hour
