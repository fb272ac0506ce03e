-- The second log: every event with its headers, and its bytes exactly as they travelled, equal bytes stored once.

create table meta_payloads (
    account_id     uuid not null,
    payload_sha256 bytea not null check (length(payload_sha256) = 32),
    payload        bytea not null,
    primary key (account_id, payload_sha256)
);
-- The bytes are compressed already: PostgreSQL must neither try again nor pay for it.
alter table meta_payloads alter column payload set storage external;

create table meta_insights_raw (
    account_id         uuid not null,
    ad_account_id      uuid not null,
    date               date not null,
    event_id           uuid not null,
    run_id             uuid,
    fetched_at         timestamptz not null,
    -- When the stream stored the event (not when this row was written), so that a replay from here judges as one from the stream.
    stored_at          timestamptz not null,
    -- The creation time of the stream: a recreated stream counts its sequences anew.
    stream_incarnation timestamptz not null,
    stream_sequence    bigint not null,
    row_count          int,
    codec              text not null,
    uncompressed_bytes bigint,
    payload_sha256     bytea not null,
    -- The event's own headers (CloudEvents attributes, percent-encoded as they travelled).
    headers            jsonb not null,
    primary key (account_id, ad_account_id, date, event_id),
    foreign key (account_id, payload_sha256) references meta_payloads (account_id, payload_sha256)
);
-- An event id is used once by a tenant, whatever its subject says.
create unique index meta_insights_raw_event on meta_insights_raw (account_id, event_id);

-- What a run brought: the commands that wait for one ask so.
create index meta_insights_raw_run on meta_insights_raw (account_id, run_id) where run_id is not null;

create function meta_insights_raw_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'meta_insights_raw is append-only';
end $$;
create trigger meta_insights_raw_is_append_only before update on meta_insights_raw
    for each row execute function meta_insights_raw_is_append_only();
