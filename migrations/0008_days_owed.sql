-- What an integration owes: days that were planned and not published, or failed, or published and not folded for a while
-- (then the event was parked, and another answer may be better; 40 days cover all that Meta still restates). Those of a
-- backfill or settle run that still waits or works are that one's business.

create view sync_days_owed as
select d.account_id, d.integration_id, d.date
from sync_days d
where d.state <> 'published'
  and not exists (
      select from sync_runs r
      where r.account_id = d.account_id and r.integration_id = d.integration_id
        and r.job_type in ('meta_settle', 'meta_backfill') and r.status in ('queued', 'running', 'waiting')
        and d.date between r.window_since and r.window_until)
union
select u.account_id, u.integration_id, u.date
from sync_days_unfolded u
where u.last_fetched_at < now() - interval '10 minutes' and u.date > current_date - 40;
