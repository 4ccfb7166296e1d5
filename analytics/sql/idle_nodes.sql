-- One row: how many nodes there were, and how many never ran anything.
select count(*) as nodes, count(*) filter (busy_s = 0) as idle from nodes
