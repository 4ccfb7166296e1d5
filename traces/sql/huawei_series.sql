-- One row per window, metric, quantile and region or function, in order of time.
SELECT
    time_us, window_us, region, numbered.function, metric, quantile, value
FROM {_series}
LEFT JOIN numbered USING (region, name)
ORDER BY time_us, region, numbered.function, metric, quantile
