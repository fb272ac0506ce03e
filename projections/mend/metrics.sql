-- The rows of these days as they are, but for those that this transaction made itself to lock their days.
select m.account_id, m.ad_account_id, m.date, m::text as "text!"
from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
join daily_meta_metrics m using (account_id, ad_account_id, date)
where not $4::bool or m.xmin <> pg_current_xact_id()::xid
