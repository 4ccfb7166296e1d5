-- Grain: one row per tier and size of request: attempts that were submitted in the window, those that started, and the
-- delay of these in seconds (p99 nearest-rank). size: the largest share of a mean node that is asked for, of any resource:
-- 0 under 1 %, 1 under 5 %, 2 under 25 %, 3 more.
with mean_node as (
    select resource, sum(capacity::hugeint * width_us) / sum(nodes::hugeint * width_us) as offered
    from capacity
    join series using (time_us)
    group by resource
    having offered > 0
),
offered as (
    select
        max(offered) filter (resource = 'cpu_milli') as cpu_milli,
        max(offered) filter (resource = 'memory_mib') as memory_mib,
        max(offered) filter (resource = 'disk_mib') as disk_mib,
        max(offered) filter (resource = 'gpu_milli') as gpu_milli
    from mean_node
),
sized as (
    select
        tier,
        is_placed,
        waited_us,
        greatest(
            coalesce(attempts.cpu_milli / offered.cpu_milli, 0), coalesce(attempts.memory_mib / offered.memory_mib, 0),
            coalesce(attempts.disk_mib / offered.disk_mib, 0), coalesce(attempts.gpu_milli / offered.gpu_milli, 0)
        ) as share
    from attempts
    cross join offered
    where not initial
)
select
    tier,
    case when share < 0.01 then 0 when share < 0.05 then 1 when share < 0.25 then 2 else 3 end as size,
    count(*) as attempts,
    count(*) filter (is_placed) as started,
    quantile_disc(waited_us, 0.99) filter (is_placed) / 1e6 as p99_s,
    sum(waited_us) filter (is_placed) / count(*) filter (is_placed) / 1e6 as mean_s
from sized
group by tier, size
order by tier, size
