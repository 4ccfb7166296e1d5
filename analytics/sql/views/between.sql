-- Grain: one row per tier, and "all". What happened between $from_us and $to_us (both ends included; run time): attempts
-- submitted, started, ended, given up (ended without a start); set_back as in flow.sql; waiting at the end of it; delay in
-- seconds of those that started then.
WITH counted AS (
    SELECT
        tier,
        submit_us BETWEEN $from_us AND $to_us AND NOT initial AS submitted,
        coalesce(start_us BETWEEN $from_us AND $to_us AND NOT initial, false) AS started,
        coalesce(end_us BETWEEN $from_us AND $to_us, false) AS ended,
        start_us IS NOT NULL AS ran,
        (coalesce("end" = 'EVICT' AND end_us BETWEEN $from_us AND $to_us, false))::int
            + coalesce(last_start_us > start_us AND last_start_us BETWEEN $from_us AND $to_us, false)::int AS set_back,
        submit_us <= $to_us AND coalesce(start_us > $to_us, true) AND coalesce(end_us > $to_us, true) AS waiting,
        waited_us
    FROM attempts
)
SELECT
    CASE WHEN grouping(tier) = 1 THEN 'all' ELSE tier END AS tier,
    count(*) FILTER (submitted) AS submitted,
    count(*) FILTER (started) AS started,
    count(*) FILTER (ended AND ran) AS ended,
    count(*) FILTER (ended AND NOT ran) AS given_up,
    sum(set_back)::bigint AS set_back,
    count(*) FILTER (waiting) AS waiting_at_the_end,
    quantile_disc(waited_us, 0.5) FILTER (started) / 1e6 AS delay_p50_s,
    quantile_disc(waited_us, 0.99) FILTER (started) / 1e6 AS delay_p99_s
FROM counted
GROUP BY ROLLUP (tier)
ORDER BY grouping(tier) DESC, tier
