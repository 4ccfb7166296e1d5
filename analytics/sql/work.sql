-- One row per attempt: what its work is worth, and how long it ran, ran for something, and waited inside the window.
-- value: worth of its tier x its dominant share of the cluster (mean capacity over the window), in billionths: integers,
-- because a sum of floats depends on which thread ends first. queued_us: before its first start.
with cluster as (
    select resource, sum(capacity::hugeint * width_us) / sum(width_us) as offered
    from capacity
    group by resource
    having offered > 0
),
sizes as (
    select
        max(offered) filter (resource = 'cpu_milli') as cpu_milli,
        max(offered) filter (resource = 'memory_mib') as memory_mib,
        max(offered) filter (resource = 'disk_mib') as disk_mib,
        max(offered) filter (resource = 'gpu_milli') as gpu_milli
    from cluster
)
select
    job,
    coalesce(tenant, '') as tenant,
    round(1e9 * coalesce(tiers.worth, 1) * greatest(
        coalesce(attempts.cpu_milli / sizes.cpu_milli, 0), coalesce(attempts.memory_mib / sizes.memory_mib, 0),
        coalesce(attempts.disk_mib / sizes.disk_mib, 0), coalesce(attempts.gpu_milli / sizes.gpu_milli, 0)
    ))::hugeint as value,
    round(1e9 * coalesce(attempts.cpu_milli / sizes.cpu_milli, 0))::hugeint as cpu_share,
    round(1e9 * coalesce(attempts.memory_mib / sizes.memory_mib, 0))::hugeint as memory_share,
    round(1e9 * coalesce(attempts.disk_mib / sizes.disk_mib, 0))::hugeint as disk_share,
    round(1e9 * coalesce(attempts.gpu_milli / sizes.gpu_milli, 0))::hugeint as gpu_share,
    ran_us,
    kept_us,
    case when initial then 0
        else greatest(coalesce(start_us, least(attempts.end_us, run_window.closes_us), run_window.closes_us)
            - greatest(submit_us, run_window.opens_us), 0)
    end as queued_us
from attempts
cross join sizes
cross join run_window
left join tiers on tiers.name = attempts.tier
