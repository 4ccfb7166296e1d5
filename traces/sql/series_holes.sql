-- One row per series of a region (or of all of them) that lacks windows before its last one, the first being at 0:
-- how many windows it should have, how many it has, and the numbers of those missing, in order.
WITH known AS (
    SELECT DISTINCT region, metric, window_us, time_us // window_us AS number
    FROM _series
    WHERE name IS NULL
),

spans AS (
    SELECT region, metric, window_us, max(number) + 1 AS parts, count(*) AS present
    FROM known
    GROUP BY ALL
),

expected AS (
    SELECT region, metric, window_us, unnest(range(0, parts)) AS number
    FROM spans
    WHERE present < parts
),

missing AS (
    SELECT e.region, e.metric, e.window_us, list(e.number ORDER BY e.number) AS numbers
    FROM expected AS e
    WHERE NOT EXISTS (
        FROM known AS k
        WHERE (k.metric, k.window_us, k.number) = (e.metric, e.window_us, e.number) AND k.region IS NOT DISTINCT FROM e.region
    )
    GROUP BY ALL
)

SELECT missing.metric, missing.region, missing.window_us, spans.parts, spans.present, missing.numbers
FROM missing
JOIN spans ON (spans.metric, spans.window_us) = (missing.metric, missing.window_us)
    AND spans.region IS NOT DISTINCT FROM missing.region
ORDER BY missing.metric, missing.region
