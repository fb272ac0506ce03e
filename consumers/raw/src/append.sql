-- One row an event; a second delivery finds the first one's row.
insert into meta_insights_raw (
    account_id, ad_account_id, date, event_id, run_id, fetched_at, stored_at, stream_incarnation, stream_sequence,
    row_count, codec, uncompressed_bytes, payload_sha256, headers
)
select account_id, ad_account_id, date, event_id, run_id, fetched_at, stored_at, $8::timestamptz, stream_sequence,
       row_count, codec, uncompressed_bytes, payload_sha256, headers
from unnest(
    $1::uuid[], $2::uuid[], $3::date[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::timestamptz[], $9::bigint[],
    $10::int[], $11::text[], $12::bigint[], $13::bytea[], $14::jsonb[]
) as e (account_id, ad_account_id, date, event_id, run_id, fetched_at, stored_at, stream_sequence,
        row_count, codec, uncompressed_bytes, payload_sha256, headers)
on conflict do nothing
