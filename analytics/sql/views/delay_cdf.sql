-- Grain: one row per tier (and "all") and step of delay, forty steps to a factor of ten. share: of the attempts that
-- started, those that had started within delay_s seconds (the longest delay in the step, so it is exact there).
with steps as (
    select
        tier,
        case when waited_ms <= 1 then 0 else ceil(40 * log10(waited_ms))::int end as step,
        max(waited_ms) filter (started > 0) / 1e3 as delay_s,
        sum(started) as started
    from waits
    group by tier, step
)
select
    tier,
    delay_s,
    sum(started) over (partition by tier order by step) / sum(started) over (partition by tier) as share
from steps
where started > 0
order by tier, delay_s
