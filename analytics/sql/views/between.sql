-- Grain: one row per tier. What happened between $from_us and $to_us (both ends included; run time): attempts that
-- arrived, started and ended; evictions and preemptions of attempts that arrived then; delay in seconds of those that
-- started then.
SELECT
    tier,
    count(*) FILTER (submit_us BETWEEN $from_us AND $to_us AND NOT initial) AS arrived,
    count(*) FILTER (start_us BETWEEN $from_us AND $to_us AND NOT initial) AS started,
    count(*) FILTER (end_us BETWEEN $from_us AND $to_us) AS ended,
    sum(evictions) FILTER (submit_us BETWEEN $from_us AND $to_us) AS evictions,
    sum(preemptions) FILTER (submit_us BETWEEN $from_us AND $to_us) AS preemptions,
    quantile_disc(waited_us, 0.5) FILTER (start_us BETWEEN $from_us AND $to_us AND NOT initial) / 1e6 AS delay_p50_s,
    quantile_disc(waited_us, 0.99) FILTER (start_us BETWEEN $from_us AND $to_us AND NOT initial) / 1e6 AS delay_p99_s
FROM attempts
GROUP BY tier
ORDER BY tier
