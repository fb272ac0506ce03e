-- A tenant's days: the summary, and how much of the control total is counted over its ad accounts.
select s.date,
       s.meta_spend as spend,
       s.meta_impressions as impressions,
       s.meta_clicks as clicks,
       s.meta_purchases as purchases,
       s.meta_purchase_value as purchase_value,
       s.meta_roas as roas,
       m.coverage,
       coalesce(m.provisional, false) as "provisional!"
from daily_summary s
left join lateral (
    select round(sum(spend) filter (where control_spend is not null) / nullif(sum(control_spend), 0), 6) as coverage, bool_or(provisional) as provisional
    from daily_meta_metrics where account_id = s.account_id and date = s.date
) m on true
where s.account_id = $1 and s.date between $2 and $3
order by s.date
