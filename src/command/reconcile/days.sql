-- Each day of the range of each ad account that is asked about, with all that the tables know of it, also where that is nothing.
select i.account_id, i.ad_account_id, a.external_id, a.currency, day::date as "date!",
       (day::date >= ($5::timestamptz at time zone a.timezone_name)::date) as "not_over!",
       (m.event_id is not null) as "has_numbers!",
       m.spend as "counted_spend?", m.control_spend as "control_spend?", m.coverage as "coverage?",
       m.provisional as "provisional?", m.purchases_known as "purchases_known?",
       coalesce(log.row_count - newest.row_count, 0) as "superseded_rows!",
       newest.spend as "answered_spend?", newest.status_filter as "status_filter?", newest.age_days as "age_days?",
       kept.ads as "kept_ads!", kept.spend as "kept_spend?", gone.ads as "gone_ads!", gone.spend as "gone_spend?",
       d.state as "state?", d.last_error as "last_error?",
       (missing.last_event_id is not null) as "unfolded!",
       coalesce(missing.last_fetched_at < $5::timestamptz - interval '10 minutes', false) as "stuck!",
       run.status as "run_status?", run.wait_reason as "run_wait_reason?", run.error_message as "run_error?",
       coalesce(rule.version, 1) as "rule_version!", coalesce(rule.attribution_window, 'unified') as "rule_window!",
       (behind.version is not null) as "rule_behind!", i.id as integration_id
from integrations i
join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
cross join generate_series($3::date, $4::date, interval '1 day') as day
left join daily_meta_metrics m
    on m.account_id = i.account_id and m.ad_account_id = i.ad_account_id and m.date = day::date and m.projection_version > 0
-- What the newest answer said by itself.
left join observations newest
    on newest.account_id = m.account_id and newest.ad_account_id = m.ad_account_id and newest.date = m.date
   and newest.event_id = m.event_id
-- The log counts rows, and the observation ads.
left join meta_insights_raw log on log.account_id = newest.account_id and log.event_id = newest.event_id
-- Ads that the newest answer does not have: those that count all the same, and those that are proven to be gone.
cross join lateral (
    select count(*) as ads, sum(f.spend) as spend from fact_meta_daily f
    where f.account_id = i.account_id and f.ad_account_id = i.ad_account_id and f.date = day::date
      and f.absence = 'not_returned') kept
cross join lateral (
    select count(*) as ads, sum(f.spend) as spend from fact_meta_daily f
    where f.account_id = i.account_id and f.ad_account_id = i.ad_account_id and f.date = day::date
      and f.absence = 'deleted') gone
left join sync_days d on d.account_id = i.account_id and d.integration_id = i.id and d.date = day::date
left join sync_days_unfolded missing
    on missing.account_id = i.account_id and missing.integration_id = i.id and missing.date = day::date
-- The run that was asked for last, of those whose window has the day.
left join lateral (
    select r.status, r.wait_reason, r.error_message from sync_runs r
    where r.account_id = i.account_id and r.integration_id = i.id and day::date between r.window_since and r.window_until
    order by r.requested_at desc limit 1) run on true
left join purchase_rules_newest rule on rule.account_id = i.account_id and rule.integration_id = i.id
left join purchase_rule_days_behind behind
    on behind.account_id = i.account_id and behind.integration_id = i.id and behind.date = day::date
where ($1::uuid is null or i.account_id = $1) and ($2::uuid is null or i.ad_account_id = $2)
  and i.type = 'meta'
order by i.account_id, a.external_id, day
