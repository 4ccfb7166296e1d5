-- Grain: one row per bin of time and verdict, the newest $bins bins of the journal's time. Attempts of the planner's
-- solver: how many, and their time in seconds.
WITH solves AS (
    SELECT time_us, verdict, (details::JSON ->> 'seconds')::DOUBLE AS seconds FROM journal WHERE kind = 'solve'
),
span AS (SELECT min(time_us) AS opens_us, greatest((max(time_us) - min(time_us)) // $bins, 1) AS bin_us FROM solves)
SELECT
    make_timestamp(opens_us + ((time_us - opens_us) // bin_us) * bin_us) AS time_utc,
    verdict,
    count(*) AS solves,
    median(seconds) AS p50_s,
    max(seconds) AS longest_s
FROM solves, span
GROUP BY ALL
ORDER BY time_utc, verdict
