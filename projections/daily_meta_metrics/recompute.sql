-- What counts: every row but those proven gone. A metric no counted row has is unknown (null); a day without any counted
-- row is a day without delivery (zeros). Ratios of a zero or unknown denominator are unknown.
--
-- Purchases are known where every counted row was folded by the day's rule and its request asked for the rule's window; of a
-- day without any, where the newest request did. A sum over known and unknown purchases would be too small, so it is unknown.
with summed as (
    select day.account_id, day.ad_account_id, day.date, ads::int as ads,
           case when ads = 0 then 0 else spend end as spend,
           case when ads = 0 then 0 else impressions end as impressions,
           case when ads = 0 then 0 else clicks end as clicks,
           case when ads = 0 then 0 else inline_link_clicks end as inline_link_clicks,
           known,
           case when not known then null when ads = 0 then 0 else purchases end as purchases,
           case when not known then null when ads = 0 then 0 else purchase_value end as purchase_value
    from unnest($1::uuid[], $2::uuid[], $3::date[], $4::int[], $5::text[])
         as day (account_id, ad_account_id, date, rule_version, attribution_window)
    -- The rows that count, summed day by day: an index scan a day. A plain join is one scan of the whole table as soon as
    -- the planner takes the days for a large part of it.
    cross join lateral (
        select count(*) as ads, sum(spend) as spend, sum(impressions)::bigint as impressions,
               sum(clicks)::bigint as clicks, sum(inline_link_clicks)::bigint as inline_link_clicks,
               sum(purchases) as purchases, sum(purchase_value) as purchase_value,
               bool_and(purchases_known and rule_version = day.rule_version) as rows_known
        from fact_meta_daily f
        where (f.account_id, f.ad_account_id, f.date) = (day.account_id, day.ad_account_id, day.date)
          and absence is distinct from 'deleted'
    ) counted
    cross join lateral (
        select coalesce(rows_known, day.attribution_window = 'unified' or coalesce((
            select day.attribution_window = any (string_to_array(o.attribution_windows, ','))
            from daily_meta_metrics head
            join observations o using (account_id, ad_account_id, date, event_id)
            where (account_id, ad_account_id, date) = (day.account_id, day.ad_account_id, day.date)), false)) as known
    ) asked
), told as (
    select s.*,
           round(s.clicks::numeric / nullif(s.impressions, 0), 6) as ctr,
           round(s.spend / nullif(s.clicks, 0), 6) as cpc,
           round(s.spend * 1000 / nullif(s.impressions, 0), 6) as cpm,
           round(s.spend / nullif(s.purchases, 0), 6) as cpa,
           round(s.purchase_value / nullif(s.spend, 0), 6) as roas,
           round(s.spend / nullif(head.control_spend, 0), 6) as coverage
    from summed s
    join daily_meta_metrics head using (account_id, ad_account_id, date)
)
update daily_meta_metrics m
set ads = s.ads, spend = s.spend, impressions = s.impressions, clicks = s.clicks,
    inline_link_clicks = s.inline_link_clicks, purchases = s.purchases, purchase_value = s.purchase_value,
    purchases_known = s.known, ctr = s.ctr, cpc = s.cpc, cpm = s.cpm, cpa = s.cpa, roas = s.roas, coverage = s.coverage
from told s
where (m.account_id, m.ad_account_id, m.date) = (s.account_id, s.ad_account_id, s.date)
  and (m.ads, m.spend, m.impressions, m.clicks, m.inline_link_clicks, m.purchases, m.purchase_value,
       m.purchases_known, m.ctr, m.cpc, m.cpm, m.cpa, m.roas, m.coverage)
      is distinct from
      (s.ads, s.spend, s.impressions, s.clicks, s.inline_link_clicks, s.purchases, s.purchase_value,
       s.known, s.ctr, s.cpc, s.cpm, s.cpa, s.roas, s.coverage)
