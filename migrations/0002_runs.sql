-- Work: what was asked for, who does it now, and which days are still due.

create table sync_cursors (
    account_id     uuid not null,
    integration_id uuid not null,
    name           text not null,
    value          date not null,
    primary key (account_id, integration_id, name),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);

create table sync_runs (
    account_id       uuid not null,
    id               uuid not null unique,
    integration_id   uuid not null,
    job_type         text not null check (job_type in ('meta_7d_fill', 'meta_fresh', 'meta_settle', 'meta_backfill')),
    trigger          text not null,
    status           text not null check (status in ('queued', 'running', 'waiting', 'succeeded', 'partial', 'failed')),
    window_since     date,
    window_until     date,
    days_total       int not null default 0,
    days_done        int not null default 0,
    rows_fetched     bigint not null default 0,
    rate_limited     bool not null default false,
    throttle_count   int not null default 0,
    throttle_wait_ms bigint not null default 0,
    wait_reason      text,
    not_before       timestamptz,
    lease_until      timestamptz,
    lease_epoch      bigint not null default 0,
    attempts         int not null default 0,
    -- How often a holder let the lease run out: it died, and maybe of this run.
    takeovers        int not null default 0,
    error_code       text,
    error_message    text,
    requested_at     timestamptz not null default now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    primary key (account_id, id),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);
-- At most one unfinished run an integration and job type: a second request finds the first.
create unique index sync_runs_unfinished on sync_runs (account_id, integration_id, job_type)
    where status in ('queued', 'running', 'waiting');
create index sync_runs_claimable on sync_runs (requested_at) where status in ('queued', 'running', 'waiting');

-- `last_event_id` names the newest event published for the day, and `run_id` the run that published it.
create table sync_days (
    account_id      uuid not null,
    integration_id  uuid not null,
    date            date not null,
    state           text not null check (state in ('due', 'published', 'failed')),
    attempts        int not null default 0,
    last_error      text,
    last_fetched_at timestamptz,
    last_event_id   uuid,
    run_id          uuid,
    primary key (account_id, integration_id, date),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);
create index sync_days_run on sync_days (account_id, run_id);
