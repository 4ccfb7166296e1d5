-- What a cold start is made of: one row per region and group of the column `key` (region, runtime, trigger, size).
-- Seconds; share is of the region's cold starts. dependencies_median_s counts only cold starts that had any.
with counted as (
    select region, {key} as grouped, count(*) as cold_starts,
        avg(total_s) as mean_s,
        avg(pod_allocation_s) as pod_allocation_mean_s,
        avg(deploy_code_s) as deploy_code_mean_s,
        avg(deploy_dependency_s) as deploy_dependency_mean_s,
        avg(scheduling_s) as scheduling_mean_s,
        quantile_cont(total_s, [0.25, 0.5, 0.75, 0.9, 0.99]) as total,
        median(pod_allocation_s) as pod_allocation_median_s,
        median(deploy_code_s) as deploy_code_median_s,
        median(deps_s) as dependencies_median_s,
        median(scheduling_s) as scheduling_median_s
    from starts
    group by region, grouped
)
select region, grouped, cold_starts, cold_starts / sum(cold_starts) over (partition by region) as share,
    mean_s, pod_allocation_mean_s, deploy_code_mean_s, deploy_dependency_mean_s, scheduling_mean_s,
    total[1] as p25_s, total[2] as p50_s, total[3] as p75_s, total[4] as p90_s, total[5] as p99_s,
    pod_allocation_median_s, deploy_code_median_s, dependencies_median_s, scheduling_median_s
from counted
order by region, grouped
