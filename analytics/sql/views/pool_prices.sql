-- Grain: one row per bin of time and pool of equal nodes (by its first node's name), of the $pools pools that were dearest
-- on the mean; $most bins at most. price: mean over the bin's rounds.
WITH told AS (
    SELECT time_us, unnest((details -> '$.pools[*]')::json[]) AS pool
    FROM journal
    WHERE kind = 'prices' AND details <> ''
),
priced AS (
    SELECT
        time_us,
        pool ->> '$.node' AS node,
        (pool ->> '$.nodes')::bigint AS nodes,
        (pool ->> '$.price')::double AS price,
        (pool ->> '$.utilisation')::double AS utilisation
    FROM told
),
dearest AS (
    SELECT node FROM priced GROUP BY node ORDER BY avg(price) DESC, node LIMIT $pools
),
width AS (
    SELECT min(time_us) AS first_us, greatest((max(time_us) - min(time_us)) // $most + 1, 60000000) AS bin_us FROM priced
)
SELECT
    make_timestamp(first_us + (time_us - first_us) // bin_us * bin_us) AS time_utc,
    node,
    max(nodes) AS nodes,
    avg(price) AS price,
    avg(utilisation) AS utilisation
FROM priced
JOIN dearest USING (node)
CROSS JOIN width
GROUP BY ALL
ORDER BY time_utc, node
