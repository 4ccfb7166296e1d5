-- What the job bootstrap resamples: one row per job, tier and delay in milliseconds, of attempts that started in the
-- window, by increasing delay. The delay is rounded to three significant digits: that blurs an interval's ends by half a percent at most.
-- Attempts that were running at the window's start are left out.
with started as (
    select job, tier, (waited_us + 500) // 1000 as waited_ms
    from attempts
    where is_placed and not initial
)
select
    job,
    tier,
    case when waited_ms < 1000 then waited_ms else round(waited_ms, 2 - floor(log10(waited_ms))::int)::bigint end as delay_ms,
    count(*) as started,
    sum(waited_ms)::bigint as waited_ms
from started
group by job, tier, delay_ms
order by delay_ms, tier, job
