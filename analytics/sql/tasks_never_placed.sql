-- One row: how many tasks (each copy that a scaled load added counts) had attempts in the window of which none ever started.
with unstarted as (
    select distinct task, copy from attempts where not is_placed
),
started_too as (
    select distinct task, copy from attempts semi join unstarted using (task, copy) where is_placed
)
select (select count(*) from unstarted) - (select count(*) from started_too) as tasks
