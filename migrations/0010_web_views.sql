-- What the status pages read, as views: how fresh each integration is, what a day says, which days are not in the tables
-- yet, and how far a run has come.

-- Days that are not published are few among those that are.
create index sync_days_unpublished on sync_days (account_id, integration_id, date) where state <> 'published';

-- One row an integration. The days of the last 40, so that what is asked does not grow with the years.
create view web_freshness with (security_invoker = true) as
select i.account_id, i.id as integration_id, i.ad_account_id, i.source, i.status, i.status_reason, i.connected_at,
       a.external_id, a.name, a.currency, a.timezone_name,
       cursor.value as sync_cursor,
       newest.date as newest_day, folded.newest_fetched_at,
       owed.days as days_owed, failed.days as days_failed, failed.last_error, unfolded.days as days_unfolded,
       secret.integration_id is not null as has_token, secret.expires_at as token_expires_at,
       log.runs as runs_waiting_for_log, log.wait_reason as log_wait_reason
from integrations i
join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
left join sync_cursors cursor
    on cursor.account_id = i.account_id and cursor.integration_id = i.id and cursor.name = 'meta_last_window_end'
left join integration_secrets secret on secret.account_id = i.account_id and secret.integration_id = i.id
left join lateral (
    select m.date from daily_meta_metrics m
    where m.account_id = i.account_id and m.ad_account_id = i.ad_account_id
    order by m.date desc limit 1) newest on true
cross join lateral (
    select max(m.fetched_at) as newest_fetched_at from daily_meta_metrics m
    where m.account_id = i.account_id and m.ad_account_id = i.ad_account_id and m.date > current_date - 40) folded
cross join lateral (
    select count(*) as days from sync_days_owed o
    where o.account_id = i.account_id and o.integration_id = i.id) owed
cross join lateral (
    select count(*) as days, max(d.last_error) as last_error from sync_days d
    where d.account_id = i.account_id and d.integration_id = i.id and d.state = 'failed') failed
cross join lateral (
    select count(*) as days from sync_days_unfolded u
    where u.account_id = i.account_id and u.integration_id = i.id and u.date > current_date - 40
      and u.last_fetched_at < now() - interval '10 minutes') unfolded
cross join lateral (
    select count(*) as runs, max(r.wait_reason) as wait_reason from sync_runs r
    where r.account_id = i.account_id and r.integration_id = i.id and r.status = 'waiting'
      and r.wait_reason in ('log_full', 'log_unreachable')) log;

-- One row an ad account and day of the tables, with the age that its newest snapshot had.
create view web_days with (security_invoker = true) as
select m.account_id, m.ad_account_id, m.date, m.currency, m.ads, m.spend, m.purchases, m.purchase_value, m.roas, m.coverage,
       m.provisional, m.fetched_at, o.age_days
from daily_meta_metrics m
left join observations o
    on o.account_id = m.account_id and o.ad_account_id = m.ad_account_id and o.date = m.date and o.event_id = m.event_id;

-- Days whose newest answer is not in the tables: due, failed, on their way, or (after ten minutes) stuck on it.
create view web_days_missing with (security_invoker = true) as
select d.account_id, i.ad_account_id, d.date, d.state, d.last_error
from sync_days d
join integrations i on i.account_id = d.account_id and i.id = d.integration_id
where d.state <> 'published'
union all
select u.account_id, u.ad_account_id, u.date,
       case when u.last_fetched_at < now() - interval '10 minutes' then 'stuck' else 'on_its_way' end, null
from sync_days_unfolded u;

grant select on web_freshness, web_days, web_days_missing to adledger_web;
