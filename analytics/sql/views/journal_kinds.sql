-- Grain: one row per kind of decision. How many there are, the first and the last (UTC), who wrote them.
SELECT
    kind,
    count(*) AS decisions,
    make_timestamp(min(time_us)) AS first_utc,
    make_timestamp(max(time_us)) AS last_utc,
    count(DISTINCT writer) AS writers
FROM journal
GROUP BY kind
ORDER BY kind
