-- Who makes the calls: one row per region. Shares of the calls made by the busiest functions; NULL without calls.
with per_function as (
    select coalesce(functions.region, 'all') as region, functions.function, any_value(functions.owner) as owner,
        sum(invocations.count)::double as calls
    from functions
    left join invocations using (function)
    group by all
),
ranked as (
    select region, owner, coalesce(calls, 0) as calls,
        row_number() over (partition by region order by calls desc nulls last, function) as place,
        count(*) over (partition by region) as functions
    from per_function
),
owners as (
    select region, avg((held = 1)::integer) as users_with_one_function, count(*) as users
    from (select region, owner, count(*) as held from per_function where owner is not null group by all)
    group by region
)
select region, any_value(functions) as functions, any_value(users) as users,
    any_value(users_with_one_function) as users_with_one_function, sum(calls) as calls,
    sum(calls) filter (place = 1) / nullif(sum(calls), 0) as top_function,
    sum(calls) filter (place <= functions * 0.01 or place = 1) / nullif(sum(calls), 0) as top_1_percent,
    sum(calls) filter (place <= functions * 0.1 or place = 1) / nullif(sum(calls), 0) as top_10_percent
from ranked
left join owners using (region)
group by region
order by region
