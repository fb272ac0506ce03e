-- What every fetcher must know before it asks Meta, on every machine and after every restart: who is throttled until when,
-- and how much of an ad account fits into one question.

-- Meta's throttles, of an ad account or of a whole app, whichever tenant learned of them: a limit of Meta's is shared by all who
-- use the account or the app. `key` is the ad account's external id; the app's id, or where it is not known `token:` and a hash.
create table throttles (
    scope         text not null check (scope in ('ad_account', 'app')),
    key           text not null,
    blocked_until timestamptz not null,
    -- Throttles without an answer in between: what the wait grows by where Meta names none.
    in_a_row      int not null,
    -- Meta's words.
    reason        text not null,
    primary key (scope, key)
);

alter table throttles enable row level security;

-- How the last questions about an ad account had to be asked, so that none that was too large is asked again.
create table fetch_shapes (
    account_id     uuid not null,
    integration_id uuid not null,
    -- The most rows that a day had, of the days that were asked for last; null before the first answer.
    rows_a_day     int check (rows_a_day >= 0),
    page_limit     int not null check (page_limit > 0),
    -- The most days that one question may ask for.
    most_days      int not null check (most_days > 0),
    -- Answered page by page, or by a report that Meta makes first.
    way            text not null check (way in ('pages', 'report')),
    -- When Meta last found a question too large; null while none was.
    lowered_at     timestamptz,
    primary key (account_id, integration_id),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);
alter table fetch_shapes enable row level security;

-- Until when the newest throttle of the run lasts, and how often it was set aside for one since it last brought a day.
alter table sync_runs add column throttled_until timestamptz;
alter table sync_runs add column throttle_waits int not null default 0;
