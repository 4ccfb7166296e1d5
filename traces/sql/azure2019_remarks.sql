-- One row: functions (or applications) by what is odd about them, in the order of REMARKS.
WITH called AS (SELECT DISTINCT owner, app, name FROM _invocations),

timed AS (SELECT owner, app, name, bool_and(average = 0) AS is_zero FROM _durations GROUP BY ALL),

own AS (SELECT DISTINCT owner, app, name FROM _memory WHERE name IS NOT NULL),

shared AS (SELECT DISTINCT owner, app FROM _memory WHERE name IS NULL),

triggers AS (
    SELECT owner, app, name
    FROM _invocations
    GROUP BY ALL
    HAVING count(DISTINCT trigger) > 1
),

same_name AS (
    SELECT name, count(*) AS functions
    FROM numbered
    GROUP BY ALL
    HAVING count(*) > 1
)

SELECT
    (SELECT count(*) FROM called ANTI JOIN timed USING (owner, app, name)),
    (SELECT count(*) FROM timed ANTI JOIN called USING (owner, app, name)),
    (SELECT count(*) FROM numbered ANTI JOIN own USING (owner, app, name) ANTI JOIN shared USING (owner, app)),
    (SELECT count(*) FROM shared ANTI JOIN numbered USING (owner, app)),
    (SELECT count(*) FROM timed WHERE is_zero),
    (SELECT coalesce(sum(functions), 0)::BIGINT FROM same_name),
    (SELECT count(*) FROM triggers),
    (SELECT count(*) FROM numbered SEMI JOIN shared USING (owner, app) ANTI JOIN own USING (owner, app, name))
