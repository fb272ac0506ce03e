-- The days of all three tables of an ad account's day.
with days as (
    select account_id, ad_account_id, date from daily_meta_metrics
    union select account_id, ad_account_id, date from observations
    union select account_id, ad_account_id, date from fact_meta_daily
)
select account_id, ad_account_id, date
from days
where ($1::uuid is null or account_id = $1)
  and ($2::uuid is null or ad_account_id = $2)
  and date between $3 and $4
