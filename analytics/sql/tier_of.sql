-- One row per priority that occurs: the tier it belongs to, "other" outside all tiers.
select priorities.priority, coalesce(min(tiers.name), 'other') as tier
from (select distinct priority from placements) as priorities
left join tiers on priorities.priority between tiers.min and tiers.max
group by priorities.priority
