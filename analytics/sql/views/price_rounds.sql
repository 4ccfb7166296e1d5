-- Grain: one row per price round in the journal, the last $most, oldest first. gap: share of the bound on the value of all
-- bids that the round may be short of. pools: nodes that no pod can tell apart. dearest, median: prices of a pool.
WITH told AS (
    SELECT
        make_timestamp(time_us) AS time_utc,
        verdict,
        (details ->> '$.welfare')::double AS welfare,
        (details ->> '$.bound')::double AS bound,
        (details ->> '$.cpu_s')::double AS cpu_s,
        (details ->> '$.written')::bigint AS written,
        (details -> '$.pools[*].price')::double[] AS prices
    FROM journal
    WHERE kind = 'prices' AND details <> ''
    ORDER BY time_us DESC
    LIMIT $most
)
SELECT
    time_utc,
    verdict,
    welfare,
    CASE WHEN bound > 0 THEN greatest(bound - welfare, 0) / bound ELSE 0 END AS gap,
    len(prices) AS pools,
    list_max(prices) AS dearest,
    list_median(prices) AS median,
    written,
    cpu_s
FROM told
ORDER BY time_utc
