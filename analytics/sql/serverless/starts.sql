-- One row per cold start with what its function is; times in seconds, hour counts from the trace's zero.
-- small: a pod of at most 400 millicores and 256 MiB, as the paper groups them. deps_s is NULL where there were none.
select
    starts.time_us,
    (starts.time_us // 3600000000)::integer as hour,
    coalesce(functions.region, 'all') as region,
    coalesce(functions.runtime, 'unknown') as runtime,
    coalesce(functions.trigger, 'unknown') as trigger,
    case
        when coalesce(starts.cpu_milli, functions.cpu_milli) is null then 'unknown'
        when coalesce(starts.cpu_milli, functions.cpu_milli) <= 400
            and coalesce(starts.memory_mib, functions.limit_mib, 0) <= 256 then 'small'
        else 'large'
    end as size,
    starts.function,
    starts.total_us / 1e6 as total_s,
    starts.pod_allocation_us / 1e6 as pod_allocation_s,
    starts.deploy_code_us / 1e6 as deploy_code_s,
    starts.deploy_dependency_us / 1e6 as deploy_dependency_s,
    nullif(starts.deploy_dependency_us, 0) / 1e6 as deps_s,
    starts.scheduling_us / 1e6 as scheduling_s
from cold_starts as starts
join functions using (function)
