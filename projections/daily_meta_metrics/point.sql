-- The head's own columns; the sums are another statement's.
update daily_meta_metrics m
set currency = h.currency, control_spend = h.control_spend, provisional = h.provisional, event_id = h.event_id,
    fetched_at = h.fetched_at, content_sha256 = h.content_sha256, projection_version = $10::int
from unnest(
    $1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::numeric[], $6::bool[], $7::uuid[], $8::timestamptz[], $9::bytea[]
) as h (account_id, ad_account_id, date, currency, control_spend, provisional, event_id, fetched_at, content_sha256)
where (m.account_id, m.ad_account_id, m.date) = (h.account_id, h.ad_account_id, h.date)
  and (m.currency, m.control_spend, m.provisional, m.event_id, m.fetched_at, m.content_sha256, m.projection_version)
      is distinct from
      (h.currency, h.control_spend, h.provisional, h.event_id, h.fetched_at, h.content_sha256, $10::int)
