-- One row: counts of what does not agree, in the order of REMARKS.
WITH called AS (SELECT DISTINCT region, name FROM _calls),

days AS (SELECT DISTINCT region, start_us // 86400000000 AS day FROM _calls)

SELECT
    (
        SELECT count(*)
        FROM (SELECT DISTINCT region, name FROM _cold_starts)
        ANTI JOIN called USING (region, name)
        SEMI JOIN days USING (region)
    ),
    (SELECT count(*) FROM numbered ANTI JOIN _kinds USING (region, name) SEMI JOIN _kinds USING (region)),
    (SELECT count(*) FROM (SELECT region, pod FROM _cold_starts GROUP BY ALL HAVING count(*) > 1)),
    (
        SELECT count(*)
        FROM _cold_starts
        WHERE abs(total_us - pod_allocation_us - deploy_code_us - deploy_dependency_us - scheduling_us) > 1000
    ),
    (SELECT count(*) FROM _requests AS r SEMI JOIN days ON days.region = r.region AND days.day = r.start_us // 86400000000)
