-- Grain: one row per bin of time, of width $bin_us, and resource that the cluster has. Shares of what is installed, over
-- the bin's samples. requested: by running tasks. used: measured, NULL without usage data. stranded: free on nodes where
-- no common request fits. hour: since the window opened.
SELECT
    ((time_us - opens_us) // $bin_us) * $bin_us / 3.6e9 AS hour,
    resource,
    sum(requested) / sum(capacity) AS requested,
    sum(used) / sum(capacity) FILTER (used IS NOT NULL) AS used,
    sum(stranded) / sum(capacity) AS stranded
FROM capacity, run_window
WHERE capacity > 0
GROUP BY (time_us - opens_us) // $bin_us, opens_us, resource
ORDER BY hour, resource
