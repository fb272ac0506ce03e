-- What counts: every row but those proven gone. A metric no counted row has is unknown (null); a day without any counted
-- row is a day without delivery (zeros). Ratios of a zero or unknown denominator are unknown.
with days as (
    select * from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
),
-- The rows that count, summed a day.
counted as (
    select account_id, ad_account_id, date,
           count(*) as ads, sum(spend) as spend, sum(impressions)::bigint as impressions, sum(clicks)::bigint as clicks,
           sum(inline_link_clicks)::bigint as inline_link_clicks, sum(purchases) as purchases,
           sum(purchase_value) as purchase_value
    from days join fact_meta_daily using (account_id, ad_account_id, date)
    where absence is distinct from 'deleted'
    group by account_id, ad_account_id, date
),
-- The same with a row for each day.
summed as (
    select account_id, ad_account_id, date, coalesce(ads, 0)::int as ads,
           case when ads is null then 0 else spend end as spend,
           case when ads is null then 0 else impressions end as impressions,
           case when ads is null then 0 else clicks end as clicks,
           case when ads is null then 0 else inline_link_clicks end as inline_link_clicks,
           case when ads is null then 0 else purchases end as purchases,
           case when ads is null then 0 else purchase_value end as purchase_value
    from days left join counted using (account_id, ad_account_id, date)
)
update daily_meta_metrics m
set ads = s.ads, spend = s.spend, impressions = s.impressions, clicks = s.clicks,
    inline_link_clicks = s.inline_link_clicks, purchases = s.purchases, purchase_value = s.purchase_value,
    ctr = round(s.clicks::numeric / nullif(s.impressions, 0), 6),
    cpc = round(s.spend / nullif(s.clicks, 0), 6),
    cpm = round(s.spend * 1000 / nullif(s.impressions, 0), 6),
    cpa = round(s.spend / nullif(s.purchases, 0), 6),
    roas = round(s.purchase_value / nullif(s.spend, 0), 6),
    coverage = round(s.spend / nullif(m.control_spend, 0), 6)
from summed s
where (m.account_id, m.ad_account_id, m.date) = (s.account_id, s.ad_account_id, s.date)
