-- Each event of a day stands for the content it brought; rows that name it get that content's standing, where it changed.
-- One day a statement, so that the day's rows are found by the index, however many days there are.
update fact_meta_daily f
set event_id = s.first_event_id, fetched_at = s.first_fetched_at, absent_since = s.absent_since, absence = s.absence
from unnest($4::uuid[], $5::uuid[], $6::timestamptz[], $7::timestamptz[], $8::text[])
     as s (event_id, first_event_id, first_fetched_at, absent_since, absence)
where f.account_id = $1 and f.ad_account_id = $2 and f.date = $3
  and f.event_id = s.event_id
  and (f.event_id, f.fetched_at, f.absent_since, f.absence)
      is distinct from (s.first_event_id, s.first_fetched_at, s.absent_since, s.absence)
