-- Grain: one row per bin of time between the journal's first row and its last, $bins bins. waiting: pods of which the last
-- word by then was that they wait (impossible, undecided). evicted, placed: pods that plans evicted and bound in the bin.
-- open_plans: plans proposed and not decided by the bin's end. solves: attempts of the solver.
WITH span AS (
    SELECT min(time_us) AS first_us, greatest((max(time_us) - min(time_us)) // $bins + 1, 1000000) AS bin_us FROM journal
),
bins AS (
    SELECT unnest(range($bins)) AS bin
),
words AS (
    SELECT
        time_us,
        coalesce(lead(time_us) OVER (PARTITION BY namespace, pod ORDER BY time_us), 9223372036854775807) AS until_us,
        verdict
    FROM journal
    WHERE kind = 'pod'
),
phases AS (
    SELECT
        time_us,
        coalesce(lead(time_us) OVER (PARTITION BY plan ORDER BY time_us), 9223372036854775807) AS until_us,
        verdict
    FROM journal
    WHERE kind = 'plan' AND plan <> ''
),
ends AS (
    SELECT bin, first_us + bin * bin_us AS from_us, first_us + (bin + 1) * bin_us AS end_us FROM bins, span
)
SELECT
    make_timestamp(ends.from_us) AS time_utc,
    (SELECT count(*) FROM words WHERE words.time_us < ends.end_us AND words.until_us >= ends.end_us
        AND words.verdict IN ('impossible', 'undecided')) AS waiting,
    (SELECT count(*) FROM phases WHERE phases.time_us < ends.end_us AND phases.until_us >= ends.end_us
        AND phases.verdict = 'Proposed') AS open_plans,
    (SELECT count(*) FROM journal AS j WHERE j.kind = 'action' AND j.reason = 'Evict' AND j.verdict = 'done'
        AND j.time_us >= ends.from_us AND j.time_us < ends.end_us) AS evicted,
    (SELECT count(*) FROM journal AS j WHERE j.kind = 'step' AND j.verdict = 'bound'
        AND j.time_us >= ends.from_us AND j.time_us < ends.end_us) AS placed,
    (SELECT count(*) FROM journal AS j WHERE j.kind = 'solve'
        AND j.time_us >= ends.from_us AND j.time_us < ends.end_us) AS solves
FROM ends
ORDER BY time_utc
