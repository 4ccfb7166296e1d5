-- One row per region: how the cold starts of an hour vary, and Spearman's correlation, over minutes that have cold
-- starts, of their number with their mean time and with the mean of each component.
with minutes as (
    select region, time_us // 60000000 as minute, count(*) as cold_starts, avg(total_s) as total_s,
        avg(pod_allocation_s) as pod_allocation_s, avg(deploy_code_s) as deploy_code_s,
        avg(deploy_dependency_s) as deploy_dependency_s, avg(scheduling_s) as scheduling_s
    from starts
    group by region, minute
),
ranked as (
    select region,
        {ranks}
    from minutes
),
correlated as (
    select region, {correlations}
    from ranked
    group by region
),
hours as (
    select region, hour, count(*) as cold_starts from starts group by region, hour
),
peaks as (
    select region, max(cold_starts) as peak_hour, avg(cold_starts) as mean_hour, min(cold_starts) as least_hour,
        max(cold_starts) / avg(cold_starts) as peak_to_mean, max(cold_starts) / min(cold_starts) as peak_to_trough
    from hours
    group by region
)
select * from peaks join correlated using (region) order by region
