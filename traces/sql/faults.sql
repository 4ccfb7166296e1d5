-- Faults by cause, most frequent first. Grain: one row per cause, and one for all of them under 'all'. Hours.
-- overlapping: faults that began while another of the same node was open.
WITH before AS (
  SELECT *, max(coalesce(end_us, 9223372036854775807)) OVER (
      PARTITION BY node ORDER BY start_us, end_us ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS open_until_us
  FROM faults
),
lasting AS (
  SELECT coalesce(cause, 'not stated') AS cause, node, end_us, (end_us - start_us) / 3.6e9 AS hours,
    coalesce(start_us < open_until_us, FALSE) AS is_overlapping
  FROM before
),
grouped AS (SELECT *, cause AS name FROM lasting UNION ALL SELECT *, 'all' FROM lasting)
SELECT name AS cause, count(*) AS faults, count(DISTINCT node) AS nodes, count(*) FILTER (end_us IS NULL) AS open,
  count(*) FILTER (is_overlapping) AS overlapping, round(median(hours), 2) AS p50, round(avg(hours), 2) AS mean,
  round(quantile_cont(hours, 0.9), 2) AS p90
FROM grouped GROUP BY ALL ORDER BY faults DESC, cause
