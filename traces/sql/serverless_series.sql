-- One row per published series: region (NULL: all of them), metric and quantile; its rows, functions, sum and time, s.
SELECT
    region, metric, quantile, count(*) AS rows, count(DISTINCT function) AS functions, sum(value) AS total,
    max(value) AS highest, min(time_us) / 1e6 AS first_s, max(time_us + window_us) / 1e6 AS last_s
FROM series
GROUP BY ALL
ORDER BY region, metric, quantile
