-- One row an event; an event that was folded before is passed over, and so not returned.
insert into observations (
    account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
    spend, impressions, purchases, purchase_value, control_spend, control_impressions, status_filter,
    rule_version, attribution_windows, projection_version
)
select *, $16::int
from unnest(
    $1::uuid[], $2::uuid[], $3::date[], $4::uuid[], $5::timestamptz[], $6::int[], $7::int[], $8::bytea[],
    $9::numeric[], $10::bigint[], $11::numeric[], $12::numeric[], $13::numeric[], $14::bigint[], $15::text[],
    $17::int[], $18::text[]
)
on conflict do nothing
returning account_id, ad_account_id, date, event_id
