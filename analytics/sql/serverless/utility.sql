-- Pod utility: (lifetime - keep-alive) / cold-start time, one row per region and group of the column `key`.
select region, {key} as grouped, count(*) as pods,
    median(utility) as p50, quantile_cont(utility, 0.75) as p75, quantile_cont(utility, 0.9) as p90,
    avg((utility < 1)::integer) as share_below_1, avg((utility > 100)::integer) as share_above_100
from pods
group by region, grouped
order by region, grouped
