-- One row per region: quantiles at the bound shares of the seconds between one cold start and the next.
with gaps as (
    select region, (time_us - lag(time_us) over (partition by region order by time_us)) / 1e6 as gap_s from starts
)
select region, count(gap_s) as n, quantile_disc(gap_s, $shares) as quantiles
from gaps
where gap_s > 0
group by region
order by region
