-- One row per region, configuration of pods and minute with cold starts: how many, of functions whose pods come from a
-- pool. Pods of custom images and of http functions do not: all of them start from scratch.
select coalesce(region, 'all') as region, cold_starts.cpu_milli, cold_starts.memory_mib,
    time_us // 60000000 as minute, count(*) as cold_starts
from cold_starts
join functions using (function)
where cold_starts.cpu_milli is not null and cold_starts.memory_mib is not null
    and lower(coalesce(runtime, '')) not in ('custom', 'http')
group by all
order by all
