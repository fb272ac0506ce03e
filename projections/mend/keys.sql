-- The tenants' days of a range of which some ad account's day is folded.
select distinct account_id, date
from daily_meta_metrics
where ($1::uuid is null or account_id = $1)
  and ($2::uuid is null or ad_account_id = $2)
  and date between $3 and $4
