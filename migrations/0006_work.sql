-- Work that survives: a place in the queue that a backfill gives up after each chunk, fills that follow from events, daily
-- jobs, and who leads.

-- When the run came to its place in the queue: when it was asked for, or when it last gave way.
alter table sync_runs add column queued_at timestamptz not null default now();

-- Which event of a connection a fill was made for: once an event, however often it is delivered.
create table initial_fills (
    account_id     uuid not null,
    integration_id uuid not null,
    -- CloudEvents names an event by its source and its id together.
    event_source   text not null,
    event_id       text not null,
    run_id         uuid not null,
    created_at     timestamptz not null default now(),
    primary key (account_id, integration_id, event_source, event_id),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);

-- The last day, in the ad account's time zone, for which a daily job was asked for.
create table daily_jobs (
    account_id     uuid not null,
    integration_id uuid not null,
    job_type       text not null,
    last_date      date not null,
    primary key (account_id, integration_id, job_type),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);

-- Who leads where one may work at a time; a leader that shows no sign of life is one no more.
create table leaders (
    role        text primary key,
    holder      uuid not null,
    lease_until timestamptz not null
);
