-- Attempts that had not started $limit_ms milliseconds after submission: one row per tier and for "all".
-- known: attempts of which this can be said; one that was cancelled or cut off before the limit is not among them.
-- share: 0 to 1, NULL if known is 0.
with judged as (
    select
        tier,
        sum(started) as started,
        sum(unstarted) filter (waited_ms >= $limit_ms) as still_waiting,
        sum(started) filter (waited_ms > $limit_ms) as late
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
