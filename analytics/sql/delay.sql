-- Queueing delay of the attempts that started: one row per tier and for "all"; delays in seconds, to the millisecond.
-- Percentiles are nearest-rank, so each is a delay that some attempt really had.
with ranked as (
    select
        tier,
        waited_ms,
        started,
        sum(started) over (partition by tier order by waited_ms rows unbounded preceding) as so_far,
        sum(started) over (partition by tier) as total
    from waits
    where started > 0
)
select
    tier,
    sum(started)::bigint as started,
    min(waited_ms) filter (so_far * 100 >= total * 50) / 1e3 as p50,
    min(waited_ms) filter (so_far * 100 >= total * 90) / 1e3 as p90,
    min(waited_ms) filter (so_far * 100 >= total * 99) / 1e3 as p99,
    sum(waited_ms * started) / sum(started) / 1e3 as mean
from ranked
group by tier
order by tier
