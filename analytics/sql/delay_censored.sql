-- Queueing delay with the attempts that never started: one row per tier and for "all"; delays in seconds.
-- Kaplan-Meier: an attempt that was cancelled, or still waiting at the window's end, counts as waiting until then, and
-- says nothing about later. NULL: fewer than that share are known to have started, so the delay is beyond what was seen.
-- Without such attempts the percentiles equal those of delay.sql.
with risk as (
    select
        tier,
        waited_ms,
        started,
        sum(started + unstarted) over (partition by tier)
            - sum(started + unstarted) over (partition by tier order by waited_ms rows unbounded preceding)
            + started + unstarted as at_risk
    from waits
),
survival as (
    select
        tier,
        waited_ms,
        started,
        product(1 - started / at_risk::double)
            over (partition by tier order by waited_ms rows unbounded preceding) as still_waiting
    from risk
)
select
    tier,
    -- 1e-9: rounding of the product; one of n attempts moves still_waiting by 1/n
    min(waited_ms) filter (started > 0 and still_waiting <= 0.5 + 1e-9) / 1e3 as p50,
    min(waited_ms) filter (started > 0 and still_waiting <= 0.1 + 1e-9) / 1e3 as p90,
    min(waited_ms) filter (started > 0 and still_waiting <= 0.01 + 1e-9) / 1e3 as p99
from survival
group by tier
order by tier
