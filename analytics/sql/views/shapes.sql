-- Grain: one row per common request shape. weight: its share of the requests. fits: how many more of it there was room
-- for, mean and least over the sampled times, and at the last. *_unusable: the share of the installed capacity that was
-- free on nodes where the shape does not fit (mean over time). unusable_usd_h: what that costs per hour.
-- $rates: per resource, what one of its units costs per hour.
WITH rates AS (
    SELECT unnest($rates::STRUCT(resource VARCHAR, usd_per_unit_hour DOUBLE)[], recursive := true)
),
numbered AS (
    SELECT *, row_number() OVER (PARTITION BY time_us ORDER BY weight DESC, cpu_milli, memory_mib, gpu_milli) AS shape
    FROM shapes
),
unusable AS (
    SELECT shape, time_us, regexp_replace(name, '^unusable_', '') AS resource, value
    FROM (
        FROM (SELECT shape, time_us, columns('^unusable_') FROM numbered)
        UNPIVOT INCLUDE NULLS (value FOR name IN (columns('^unusable_')))
    )
),
priced AS (
    SELECT
        shape,
        resource,
        sum(value) / nullif(sum(capacity), 0) AS share,
        avg(value) * any_value(usd_per_unit_hour) AS usd_h
    FROM unusable
    ASOF JOIN capacity USING (resource, time_us)
    LEFT JOIN rates USING (resource)
    GROUP BY shape, resource
),
costs AS (
    SELECT
        shape,
        max(share) FILTER (resource = 'cpu_milli') AS cpu_unusable,
        max(share) FILTER (resource = 'memory_mib') AS memory_unusable,
        max(share) FILTER (resource = 'gpu_milli') AS gpu_unusable,
        list_sum(list(usd_h ORDER BY resource)) AS unusable_usd_h
    FROM priced
    GROUP BY shape
),
fits AS (
    SELECT
        shape,
        any_value(cpu_milli) AS cpu_milli,
        any_value(memory_mib) AS memory_mib,
        any_value(gpu_milli) AS gpu_milli,
        any_value(weight) AS weight,
        avg(fits) AS fits_mean,
        min(fits) AS fits_least,
        arg_max(fits, time_us) AS fits_last
    FROM numbered
    GROUP BY shape
)
SELECT *
FROM fits
JOIN costs USING (shape)
ORDER BY shape
