-- The sums over a tenant's ad accounts, whose currencies are one. updated_at is the newest contributing fetched_at. Where an ad
-- account's purchases are unknown, so are the tenant's.
with summed as (
    select account_id, date, sum(spend) as spend, sum(impressions)::bigint as impressions, sum(clicks)::bigint as clicks,
           case when bool_and(purchases_known) then sum(purchases) end as purchases,
           case when bool_and(purchases_known) then sum(purchase_value) end as purchase_value,
           max(fetched_at) as fetched_at
    from unnest($1::uuid[], $2::date[]) as day (account_id, date)
    left join daily_meta_metrics using (account_id, date)
    group by account_id, date
)
update daily_summary d
set meta_spend = s.spend, meta_impressions = s.impressions, meta_clicks = s.clicks, meta_purchases = s.purchases,
    meta_purchase_value = s.purchase_value, meta_roas = round(s.purchase_value / nullif(s.spend, 0), 6),
    updated_at = coalesce(s.fetched_at, d.updated_at)
from summed s
where (d.account_id, d.date) = (s.account_id, s.date)
