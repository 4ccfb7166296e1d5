-- Grain: one row per pod that bid, as it did last; outbid ones first, the highest bid first, at most $most.
WITH ranked AS (
    SELECT *, row_number() OVER (PARTITION BY namespace, pod ORDER BY time_us DESC) AS age
    FROM journal
    WHERE kind = 'bid'
)
SELECT
    make_timestamp(time_us) AS time_utc,
    namespace,
    pod,
    verdict,
    (details ->> '$.bid')::double AS bid,
    (details ->> '$.price')::double AS price,
    node AS pool,
    message AS why
FROM ranked
WHERE age = 1
ORDER BY verdict = 'won', bid DESC, namespace, pod
LIMIT $most
