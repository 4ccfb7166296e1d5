-- Pod utility: (lifetime - keep-alive) / cold-start time, one row per region and group of the column `key`.
-- A pod's end is an estimate: its last recorded call plus the keep-alive, as the publishers advise.
with last_calls as (
    select function, pod, max(start_us) as last_us
    from invocations
    where pod is not null
    group by function, pod
),
-- A pod's name may come again; it is the latest cold start before its last call that made it.
pods as (
    select starts.region, starts.{key} as grouped, starts.total_s,
        (last_us - time_us) / 1e6 as useful_s,
        row_number() over (partition by starts.function, starts.pod order by time_us desc) as newest
    from starts
    join last_calls on last_calls.function = starts.function and last_calls.pod = starts.pod and last_us >= time_us
)
select region, grouped, count(*) as pods,
    median(useful_s / total_s) as p50, quantile_cont(useful_s / total_s, 0.75) as p75,
    quantile_cont(useful_s / total_s, 0.9) as p90,
    avg((useful_s < total_s)::integer) as share_below_1, avg((useful_s > 100 * total_s)::integer) as share_above_100
from pods
where newest = 1 and total_s > 0
group by region, grouped
order by region, grouped
