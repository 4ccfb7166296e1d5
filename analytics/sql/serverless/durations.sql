-- One row per region: quantiles at the bound shares of the seconds that a cold start takes.
select region, count(*) as n, quantile_disc(total_s, $shares) as quantiles
from starts
where total_s > 0
group by region
order by region
