-- One row per function and day in the table of invocations: its number, and its mean run time that day in microseconds.
SELECT i.day, i.row, n.function, round(d.average * 1000)::BIGINT AS duration_us
FROM _invocations AS i
JOIN numbered AS n USING (owner, app, name)
LEFT JOIN _durations AS d USING (day, owner, app, name)
