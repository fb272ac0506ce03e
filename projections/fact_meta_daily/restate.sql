-- Each event of a day stands for the content it brought; rows that name it get that content's standing, where it changed.
update fact_meta_daily f
set event_id = s.first_event_id, fetched_at = s.first_fetched_at, absent_since = s.absent_since, absence = s.absence
from unnest(
    $1::uuid[], $2::uuid[], $3::date[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::timestamptz[], $8::text[]
) as s (account_id, ad_account_id, date, event_id, first_event_id, first_fetched_at, absent_since, absence)
where (f.account_id, f.ad_account_id, f.date) = (s.account_id, s.ad_account_id, s.date)
  and f.event_id = s.event_id
  and (f.event_id, f.fetched_at, f.absent_since, f.absence)
      is distinct from (s.first_event_id, s.first_fetched_at, s.absent_since, s.absence)
