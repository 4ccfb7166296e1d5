-- Grain: one row per bin of time, of width $bin_us. overloaded_nodes: nodes loaded beyond their limit; overload: sum over
-- nodes and resources of the share beyond it. Means over the bin's samples. hour: since the window opened.
SELECT
    ((time_us - opens_us) // $bin_us) * $bin_us / 3.6e9 AS hour,
    avg(overloaded_nodes) AS overloaded_nodes,
    avg(overload) AS overload
FROM series, run_window
GROUP BY (time_us - opens_us) // $bin_us, opens_us
ORDER BY hour
