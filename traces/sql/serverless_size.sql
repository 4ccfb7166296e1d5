-- One row: how much of everything there is. silent: functions without a single invocation. busy: rows of invocations.
WITH called AS (SELECT DISTINCT function FROM invocations)

SELECT
    (SELECT count(*) FROM functions) AS functions,
    (SELECT count(DISTINCT (region, owner, app)) FROM functions WHERE app IS NOT NULL) AS applications,
    (SELECT count(*) FROM functions ANTI JOIN called USING (function)) AS silent,
    (SELECT count(*) FROM functions WHERE memory_mib IS NULL) AS without_memory,
    (SELECT count(*) FROM functions WHERE duration_us IS NULL) AS without_duration,
    (SELECT count(*) FROM functions WHERE duration_us = 0) AS of_no_duration,
    (SELECT count(*) FROM invocations) AS busy,
    (SELECT coalesce(sum(count), 0)::BIGINT FROM invocations WHERE window_us > 0) AS invocations,
    (SELECT count(*) FROM invocations WHERE window_us = 0) AS single_invocations,
    (SELECT count(*) FROM cold_starts) AS cold_starts
