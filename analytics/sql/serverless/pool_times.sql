-- One row per region and configuration of pods: recorded cold starts that come from a pool or not, and their seconds.
-- first_stage: those that found a ready pod at once, in at most $first_stage_us; missed_s: mean allocation of the rest.
with starts as (
    select cold_starts.*, coalesce(region, 'all') as place, lower(coalesce(runtime, '')) in ('custom', 'http') as scratch
    from cold_starts
    join functions using (function)
    where cold_starts.cpu_milli is not null and cold_starts.memory_mib is not null
)
select place as region, cpu_milli, memory_mib,
    count(*) filter (not scratch) as pooled,
    count(*) filter (scratch) as unpooled,
    count(*) filter (not scratch and pod_allocation_us <= $first_stage_us) as first_stage,
    avg(pod_allocation_us) filter (not scratch) / 1e6 as allocation_s,
    avg(pod_allocation_us) filter (not scratch and pod_allocation_us > $first_stage_us) / 1e6 as missed_s,
    avg(total_us) filter (not scratch) / 1e6 as total_s
from starts
group by place, cpu_milli, memory_mib
order by place, cpu_milli, memory_mib
