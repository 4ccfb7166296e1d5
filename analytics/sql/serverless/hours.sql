-- Cold starts of every hour and region: how many, and their mean seconds.
select region, hour, count(*) as cold_starts, avg(total_s) as mean_s,
    avg(pod_allocation_s) as pod_allocation_mean_s, avg(deploy_code_s) as deploy_code_mean_s,
    avg(deploy_dependency_s) as deploy_dependency_mean_s, avg(scheduling_s) as scheduling_mean_s
from starts
group by region, hour
order by region, hour
