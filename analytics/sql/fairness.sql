-- How evenly the tenants fared: one row. Jain's index (sum x)^2 / (n sum x^2): 1 is equal, 1/n is all to one.
-- Source: Jain, Chiu and Hawe, "A quantitative measure of fairness and discrimination", DEC-TR-301, 1984.
-- low_kept_share: a twentieth of the tenants have less. The dominant share is that of Ghodsi et al., "Dominant Resource Fairness", NSDI 2011, averaged over the window.
with columns as (
    select
        count(*) as tenants,
        list(mean_slowdown order by tenant) filter (mean_slowdown is not null) as slowdowns,
        list(served_share order by tenant) filter (served_share is not null) as served,
        list(kept_share order by tenant) filter (kept_share is not null) as kept,
        quantile_disc(kept_share, 0.05) as low_kept_share,
        list(dominant_share order by tenant) filter (dominant_share is not null) as dominant
    from tenants
)
select
    tenants,
    list_sum(slowdowns) ** 2 / nullif(len(slowdowns) * list_sum(list_transform(slowdowns, lambda x: x * x)), 0) as jain_slowdown,
    list_sum(served) ** 2 / nullif(len(served) * list_sum(list_transform(served, lambda x: x * x)), 0) as jain_served_share,
    list_min(served) as min_served_share,
    list_sum(kept) ** 2 / nullif(len(kept) * list_sum(list_transform(kept, lambda x: x * x)), 0) as jain_kept_share,
    list_min(kept) as min_kept_share,
    low_kept_share,
    list_sum(dominant) ** 2 / nullif(len(dominant) * list_sum(list_transform(dominant, lambda x: x * x)), 0) as jain_dominant_share,
    list_max(dominant) as max_dominant_share
from columns
