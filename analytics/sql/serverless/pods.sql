-- One row per pod whose calls are recorded: what made it, how long it was of use, and its cold start's seconds.
-- A pod's end is an estimate: its last recorded call plus the keep-alive, as the publishers advise.
-- A pod's name may come again; it is the latest cold start before its last call that made it.
with last_calls as (
    select function, pod, max(start_us) as last_us
    from invocations
    where pod is not null
    group by function, pod
),
made as (
    select function, total_us, last_us - time_us as useful_us,
        row_number() over (partition by function, pod order by time_us desc) as newest
    from cold_starts
    join last_calls using (function, pod)
    where last_us >= time_us
)
select coalesce(region, 'all') as region, coalesce(runtime, 'unknown') as runtime,
    coalesce("trigger", 'unknown') as "trigger", useful_us / total_us as utility
from made
join functions using (function)
where newest = 1 and total_us > 0
