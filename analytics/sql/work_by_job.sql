-- What the job bootstrap resamples of welfare and of tenants' shares: one row per job and tenant, in their order.
-- welfare as `kept` in welfare.sql; kept_* and wanted_* (run or waited for) are shares of the cluster x hours.
select
    job,
    tenant,
    sum(value * kept_us) / 3.6e18 as welfare,
    sum(cpu_share * kept_us) / 3.6e18 as kept_cpu,
    sum(disk_share * kept_us) / 3.6e18 as kept_disk,
    sum(gpu_share * kept_us) / 3.6e18 as kept_gpu,
    sum(memory_share * kept_us) / 3.6e18 as kept_memory,
    sum(cpu_share * (ran_us + queued_us)) / 3.6e18 as wanted_cpu,
    sum(disk_share * (ran_us + queued_us)) / 3.6e18 as wanted_disk,
    sum(gpu_share * (ran_us + queued_us)) / 3.6e18 as wanted_gpu,
    sum(memory_share * (ran_us + queued_us)) / 3.6e18 as wanted_memory
from work
group by job, tenant
order by job, tenant
