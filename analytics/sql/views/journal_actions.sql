-- Grain: one row per write to a pod, or act of a person, for the plan $plan, the newest $most (UTC).
SELECT make_timestamp(time_us) AS time_utc, writer, namespace, pod, reason AS action, verdict AS answer, message
FROM journal
WHERE plan = $plan AND kind = 'action'
ORDER BY time_us DESC, pod
LIMIT $most
