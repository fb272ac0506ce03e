-- What is known of a token beside itself: whose it is, when it ends, when Meta was last asked, and of which end somebody was
-- warned; so that nobody learns of an end by the days that stop coming.

alter table integration_secrets
    -- The Meta app that the token was made for, where Meta said so.
    add column app_id                 text,
    -- Meta said that it never expires; without this and without `expires_at`, nobody said when.
    add column never_expires          boolean not null default false,
    -- When Meta stops giving its data to a token that is otherwise good: 90 days after its user was last there.
    add column data_access_expires_at timestamptz,
    -- When Meta was last asked about it and answered.
    add column checked_at             timestamptz,
    -- When it is asked about next. Whoever asks puts this off first, so that no two ask.
    add column next_check_at          timestamptz not null default now(),
    -- Attempts since the last answer, and why the last of them had none.
    add column check_attempts         int not null default 0,
    add column check_problem          text,
    -- The last warning: how many days before which end.
    add column warned_threshold       int check (warned_threshold in (14, 7, 1)),
    add column warned_end_at          timestamptz,
    add constraint never_or_then check (not (never_expires and expires_at is not null));

-- The app of a token that somebody brought, while they choose ad accounts.
alter table connect_drafts add column app_id text;

-- What the pages say of a token: nothing of the token itself.
create view web_tokens with (security_invoker = true) as
select s.account_id, s.integration_id, s.expires_at, s.never_expires, s.data_access_expires_at, s.checked_at, s.check_problem
from integration_secrets s;

grant select (never_expires, data_access_expires_at, checked_at, check_problem) on integration_secrets to adledger_web;
grant select on web_tokens to adledger_web;
