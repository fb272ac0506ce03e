-- Replays of ranges: what was asked for, up to where the logs were read, and how far each has come, so that one
-- that was broken off goes on where it was. An operator's table: the web has no right to it.

create table replays (
    id                 bigint generated always as identity primary key,
    -- What was asked for; without a tenant, an ad account or a table: all of them.
    for_account_id     uuid,
    for_ad_account_id  uuid,
    since              date not null,
    until              date not null,
    source             text not null check (source in ('stream', 'raw')),
    only_table         text check (
        only_table in ('observations', 'fact_meta_daily', 'daily_meta_metrics', 'daily_summary')),
    trust_hash         bool not null,
    -- Of the fold that it began with: another one does not go on with it.
    projection_version int not null,
    -- Events that came after it began are not its business: it reads the stream up to a sequence of one of its
    -- lives, or raw up to an instant at which the stream stored an event. Without either, no log is read.
    stream_incarnation timestamptz,
    up_to_sequence     bigint,
    up_to_stored_at    timestamptz,
    -- The last day that is done, in the order of tenant, date, ad account; written in the transaction of the days
    -- that it speaks of.
    done_account_id    uuid,
    done_ad_account_id uuid,
    done_date          date,
    days_total         bigint not null,
    days_done          bigint not null default 0,
    events             bigint not null default 0,
    payload_bytes      bigint not null default 0,
    rows_compared      bigint not null default 0,
    days_changed       bigint not null default 0,
    -- A running one holds an advisory lock of its id's: one that says that it runs, and holds none, was killed.
    state              text not null default 'running' check (
        state in ('running', 'paused', 'broken off', 'given up', 'finished')),
    pause_wanted       bool not null default false,
    started_at         timestamptz not null default now(),
    -- When the process that works on it now, or did last, took it up, and with how many rows done.
    taken_up_at        timestamptz not null default now(),
    rows_before        bigint not null default 0,
    updated_at         timestamptz not null default now(),
    finished_at        timestamptz
);
create index replays_unfinished on replays (started_at) where state not in ('finished', 'given up');

-- The key of its lock, and whether somebody holds it.
create function replay_lock(id bigint) returns bigint language sql immutable
    as $$ select (1919250540::bigint << 32) | id $$;
create function replay_works(id bigint) returns bool language sql
    as $$ select exists (
        select from pg_locks
        where locktype = 'advisory' and granted and objsubid = 1 and classid = 1919250540 and objid = id::oid
          and database = (select oid from pg_database where datname = current_database())) $$;

alter table replays enable row level security;
