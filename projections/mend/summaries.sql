-- Days of tenants whose summary is not what daily_summary/recompute.sql would make of it. Nobody changes an ad
-- account's day without summing its tenant's anew in the same transaction: a summary that is right here was right
-- before, and nothing has to be locked to say so. Whoever changed a day himself sums it, whatever this says.
with summed as (
    select account_id, date, count(m.ad_account_id) as ad_accounts, sum(spend) as spend,
           sum(impressions)::bigint as impressions, sum(clicks)::bigint as clicks,
           case when bool_and(purchases_known) then sum(purchases) end as purchases,
           case when bool_and(purchases_known) then sum(purchase_value) end as purchase_value,
           max(fetched_at) as fetched_at
    from unnest($1::uuid[], $2::date[]) as day (account_id, date)
    left join daily_meta_metrics m using (account_id, date)
    group by account_id, date
)
select s.account_id as "account_id!", s.date as "date!"
from summed s
left join daily_summary d using (account_id, date)
where case when s.ad_accounts = 0 and d.date is null then false
           -- Without any ad account a summary is there for the columns of other sources alone, whatever they are: as in
           -- recompute.sql.
           when s.ad_accounts = 0 and jsonb_strip_nulls(to_jsonb(d) - array[
               'account_id', 'date', 'updated_at', 'meta_spend', 'meta_impressions', 'meta_clicks', 'meta_purchases',
               'meta_purchase_value', 'meta_roas']) = '{}' then true
           else (d.meta_spend, d.meta_impressions, d.meta_clicks, d.meta_purchases, d.meta_purchase_value, d.meta_roas,
                 d.updated_at)
                is distinct from
                (s.spend, s.impressions, s.clicks, s.purchases, s.purchase_value,
                 round(s.purchase_value / nullif(s.spend, 0), 6), coalesce(s.fetched_at, d.updated_at))
      end
