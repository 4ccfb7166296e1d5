-- Attempts that had not started $limit_us microseconds after submission: one row per tier and for "all".
-- known: attempts of which this can be said; one that was cancelled or cut off before the limit is not among them.
-- share: 0 to 1, NULL if known is 0.
with judged as (
    select
        tier,
        sum(started + unstarted) filter (started > 0 or waited_us >= $limit_us) as known_rows,
        sum(started) as started,
        sum(unstarted) filter (waited_us >= $limit_us) as still_waiting,
        sum(started) filter (waited_us > $limit_us) as late
    from waits
    group by tier
)
select
    tier,
    (started + coalesce(still_waiting, 0))::bigint as known,
    (coalesce(late, 0) + coalesce(still_waiting, 0))::bigint as missed,
    missed / nullif(known, 0) as share
from judged
order by tier
