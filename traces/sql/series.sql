-- One row per window, region or function, metric and quantile, in order of time.
SELECT
    time_us, window_us, region, NULL::INTEGER AS function, metric, quantile, value
FROM {_series}
ORDER BY time_us, region, metric, quantile
