-- Observations as they would be inserted (see insert.sql) beside those that are there: a day's count of those that
-- are only on one side, or not the same in every column.
with wanted as (
    select account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
           spend, impressions, purchases, purchase_value, control_spend, control_impressions, status_filter,
           rule_version, attribution_windows, $16::int as projection_version
    from unnest(
        $1::uuid[], $2::uuid[], $3::date[], $4::uuid[], $5::timestamptz[], $6::int[], $7::int[], $8::bytea[],
        $9::numeric[], $10::bigint[], $11::numeric[], $12::numeric[], $13::numeric[], $14::bigint[], $15::text[],
        $17::int[], $18::text[]
    ) as snapshot (
        account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
        spend, impressions, purchases, purchase_value, control_spend, control_impressions, status_filter,
        rule_version, attribution_windows)
), found as (
    select o.*
    from unnest($19::uuid[], $20::uuid[], $21::date[]) as day (account_id, ad_account_id, date)
    join observations o using (account_id, ad_account_id, date)
)
select account_id as "account_id!", ad_account_id as "ad_account_id!", date as "date!", count(*) as "differing!"
from wanted w
full join found f using (account_id, ad_account_id, date, event_id)
where (w.fetched_at, w.age_days, w.row_count, w.content_sha256, w.spend, w.impressions, w.purchases, w.purchase_value,
       w.control_spend, w.control_impressions, w.status_filter, w.rule_version, w.attribution_windows,
       w.projection_version)
      is distinct from
      (f.fetched_at, f.age_days, f.row_count, f.content_sha256, f.spend, f.impressions, f.purchases, f.purchase_value,
       f.control_spend, f.control_impressions, f.status_filter, f.rule_version, f.attribution_windows,
       f.projection_version)
group by account_id, ad_account_id, date
