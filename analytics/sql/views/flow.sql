-- Grain: one row per bin of time, of width $bin_us, in which anything happened. Attempts that were submitted, started,
-- ended, gave up unstarted then; set_back: evicted then (as recorded), or started anew then after an eviction or a preemption; the run does
-- not hold when these were. hour: since the window opened.
WITH happened AS (
    SELECT submit_us AS at_us, 'submitted' AS what FROM placements WHERE NOT initial
    UNION ALL SELECT start_us, 'started' FROM placements WHERE NOT initial
    UNION ALL SELECT end_us, 'ended' FROM placements WHERE start_us IS NOT NULL
    UNION ALL SELECT end_us, 'given_up' FROM placements WHERE start_us IS NULL AND end_us IS NOT NULL
    UNION ALL SELECT end_us, 'set_back' FROM placements WHERE "end" = 'EVICT'
    UNION ALL SELECT last_start_us, 'set_back' FROM placements WHERE last_start_us > start_us
)
SELECT
    ((at_us - opens_us) // $bin_us) * $bin_us / 3.6e9 AS hour,
    count(*) FILTER (what = 'submitted') AS submitted,
    count(*) FILTER (what = 'started') AS started,
    count(*) FILTER (what = 'ended') AS ended,
    count(*) FILTER (what = 'given_up') AS given_up,
    count(*) FILTER (what = 'set_back') AS set_back
FROM happened, run_window
WHERE at_us BETWEEN opens_us AND closes_us
GROUP BY (at_us - opens_us) // $bin_us, opens_us
ORDER BY hour
