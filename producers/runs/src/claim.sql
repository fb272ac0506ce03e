-- The next run to work on becomes its claimer's.
--   $1 lease in seconds, $2 this run only (or null), $3 the jobs that this program knows, the most urgent first, $4 only those the stub answers
with next as (
    select r.account_id, r.id
    from sync_runs r
    where r.job_type = any ($3)
      and ($2::uuid is null or r.id = $2)
      and (r.status = 'queued'
           or (r.status = 'waiting' and (r.not_before is null or r.not_before <= now()))
           or (r.status = 'running' and r.lease_until <= now()))
      and (not $4 or exists (
          select from integrations i where i.account_id = r.account_id and i.id = r.integration_id and i.source = 'stub'))
      -- Nobody works on this integration.
      and not exists (
          select from sync_runs other
          where other.account_id = r.account_id and other.integration_id = r.integration_id and other.id <> r.id
            and other.status = 'running' and other.lease_until > now())
      -- Room in the log is for the more urgent first, as long as somebody looks after those that wait for it.
      and ($2::uuid is not null or not exists (
          select from sync_runs urgent
          where urgent.status = 'waiting' and urgent.wait_reason in ('log_full', 'log_unreachable')
            and urgent.not_before > now() - interval '1 minute'
            and array_position($3, urgent.job_type) < array_position($3, r.job_type)))
    -- What somebody waits for first; within one kind, who came to its place first.
    order by array_position($3, r.job_type), r.queued_at, r.id
    limit 1
    for update skip locked
)
update sync_runs r
set status = 'running',
    attempts = r.attempts + 1,
    takeovers = r.takeovers + (r.status = 'running')::int,
    lease_epoch = r.lease_epoch + 1,
    lease_until = now() + make_interval(secs => $1),
    started_at = coalesce(r.started_at, now()),
    wait_reason = null,
    not_before = null
from next
where r.account_id = next.account_id and r.id = next.id
returning r.account_id, r.id, r.integration_id, r.job_type, r.window_since, r.window_until, r.attempts, r.takeovers, r.throttle_waits, r.lease_epoch,
          r.days_total > 0 as "planned!"
