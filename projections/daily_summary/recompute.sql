-- The days, whose rows the caller has locked; `was_made` says that the row is new and holds nothing yet.
with day as (
    select * from unnest($1::uuid[], $2::date[], $3::bool[]) as day (account_id, date, was_made)
),
-- The sums over a tenant's ad accounts, whose currencies are one. Where an ad account's purchases are unknown, so are the
-- tenant's.
summed as (
    select account_id, date, was_made, sum(spend) as spend, sum(impressions)::bigint as impressions, sum(clicks)::bigint as clicks,
           case when bool_and(purchases_known) then sum(purchases) end as purchases,
           case when bool_and(purchases_known) then sum(purchase_value) end as purchase_value,
           max(fetched_at) as fetched_at
    from day left join daily_meta_metrics using (account_id, date)
    group by account_id, date, was_made
),
-- Each row as it is, beside what it has to be. Numerics are compared as numbers: 1.0 is 1.00, and written as the sums are.
-- A row without an ad account's day and without anything of another source, in whatever column, goes: only a replay that
-- found no event for a day leaves one.
known as (
    select s.*, round(s.purchase_value / nullif(s.spend, 0), 6) as roas,
           d.meta_spend, d.meta_impressions, d.meta_clicks, d.meta_purchases, d.meta_purchase_value, d.meta_roas,
           (d.meta_spend, d.meta_impressions, d.meta_clicks, d.meta_purchases, d.meta_purchase_value, d.meta_roas)
               is distinct from
               (s.spend, s.impressions, s.clicks, s.purchases, s.purchase_value, round(s.purchase_value / nullif(s.spend, 0), 6))
               as differs,
           d.updated_at is distinct from coalesce(s.fetched_at, d.updated_at)
               or (d.meta_spend, d.meta_purchases, d.meta_purchase_value, d.meta_roas)::text is distinct from
                  (s.spend, s.purchases, s.purchase_value, round(s.purchase_value / nullif(s.spend, 0), 6))::text as is_newer,
           case when s.fetched_at is null then jsonb_strip_nulls(to_jsonb(d) - array[
               'account_id', 'date', 'updated_at', 'meta_spend', 'meta_impressions', 'meta_clicks', 'meta_purchases',
               'meta_purchase_value', 'meta_roas']) = '{}' else false end as is_gone
    from summed s join daily_summary d using (account_id, date)
),
-- updated_at is the newest contributing fetched_at. A row that says the same already is not written.
written as (
    update daily_summary d
    set meta_spend = k.spend, meta_impressions = k.impressions, meta_clicks = k.clicks, meta_purchases = k.purchases,
        meta_purchase_value = k.purchase_value, meta_roas = k.roas, updated_at = coalesce(k.fetched_at, d.updated_at)
    from known k
    where (d.account_id, d.date) = (k.account_id, k.date) and not k.is_gone and (k.differs or k.is_newer)
),
deleted as (
    delete from daily_summary d using known k where (d.account_id, d.date) = (k.account_id, k.date) and k.is_gone
),
-- A newer answer that says the same moves updated_at, and is no change.
changed as (
    select * from known where case when is_gone then not was_made else was_made or differs end
),
counted as (
    insert into daily_summary_versions as v (account_id, date, version)
    select account_id, date, 1 from changed order by account_id, date
    on conflict (account_id, date) do update set version = v.version + 1
    returning account_id, date, version
)
select account_id as "account_id!", date as "date!", version as "version!", was_made as "was_made!", is_gone as "is_gone!",
       meta_spend::text as old_spend, meta_impressions as old_impressions, meta_clicks as old_clicks,
       meta_purchases::text as old_purchases, meta_purchase_value::text as old_purchase_value, meta_roas::text as old_roas,
       spend::text as new_spend, impressions as new_impressions, clicks as new_clicks, purchases::text as new_purchases,
       purchase_value::text as new_purchase_value, roas::text as new_roas
from changed join counted using (account_id, date)
order by account_id, date
