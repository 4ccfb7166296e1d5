-- Queueing delay by time of submission: one row per bin of $bin_us microseconds and tier; delays in seconds,
-- percentiles nearest-rank over the attempts that started. Attempts running at the window's start are left out.
select
    run_window.opens_us + (greatest(submit_us, run_window.opens_us) - run_window.opens_us) // $bin_us * $bin_us as time_us,
    tier,
    count(*) as attempts,
    count(*) filter (not is_placed) as never_placed,
    quantile_disc(waited_us, 0.5) filter (is_placed) / 1e6 as p50,
    quantile_disc(waited_us, 0.9) filter (is_placed) / 1e6 as p90,
    quantile_disc(waited_us, 0.99) filter (is_placed) / 1e6 as p99,
    sum(waited_us) filter (is_placed) / count(*) filter (is_placed) / 1e6 as mean
from attempts
cross join run_window
where not initial
group by all
order by time_us, tier
