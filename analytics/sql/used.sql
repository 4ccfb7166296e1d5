-- One row per sampled instant: what running tasks used then, in millicores and MiB.
-- A usage row is a mean over [start_us, end_us), 300 s as a rule: it counts at every instant inside.
-- {usage} is the trace's table; $opens_us, $closes_us, $interval_us describe the instants.
with at_instants as (
    select
        unnest(range(
            greatest(cast(ceil((start_us - $opens_us) / $interval_us) as bigint), 0),
            cast(ceil((least(end_us, $closes_us + 1) - $opens_us) / $interval_us) as bigint)
        )) as instant,
        cpu_milli, memory_mib, disk_mib
    from {usage}
    where end_us > $opens_us and start_us <= $closes_us
)
select
    instant,
    sum(cpu_milli)::bigint as cpu_milli,
    sum(memory_mib)::bigint as memory_mib,
    sum(disk_mib)::bigint as disk_mib
from at_instants
group by instant
order by instant
