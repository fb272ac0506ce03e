-- What the web may do, as PostgreSQL enforces it. Each of its requests works in a transaction as the role `adledger_web`, with
-- the tenant that its credential names: it sees that tenant's rows and no other, whatever a query says. The role that owns the
-- tables is not held by these policies, because COPY is refused under them; it is the role of workers and commands.

-- Roles belong to the server, not to this database: migrations of several databases may make this one at the same moment.
do $$
begin
    for attempt in 1..50 loop
        begin
            if not exists (select from pg_roles where rolname = 'adledger_web') then
                create role adledger_web nologin;
            end if;
            if exists (select from pg_roles where rolname = 'adledger_web' and (rolsuper or rolbypassrls)) then
                raise exception 'the role adledger_web is a superuser or bypasses row-level security: it must be neither';
            end if;
            -- From PostgreSQL 16 on, who made a role is its member and may still not become it.
            if not pg_has_role(current_user, 'adledger_web',
                               case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) then
                execute format('grant adledger_web to %I', current_user);
            end if;
            return;
        exception
            -- Another migration was quicker. The next attempt finds what it made.
            when duplicate_object or unique_violation or internal_error then
                perform pg_sleep(0.02 * random());
            when insufficient_privilege then
                raise exception 'the role adledger_web cannot be made or used by %: an administrator of the server runs '
                    '"create role adledger_web nologin; grant adledger_web to %", then run the migrations again',
                    current_user, current_user using errcode = 'insufficient_privilege';
        end;
    end loop;
    raise exception 'the role adledger_web is made by too many at once: run the migrations again';
end $$;

-- API tokens of a tenant. The token itself is nowhere; it has 256 bits, so that a plain hash is enough.
create table api_tokens (
    account_id   uuid not null references accounts (id),
    id           uuid not null unique,
    name         text not null,
    token_sha256 bytea not null unique check (length(token_sha256) = 32),
    created_at   timestamptz not null default now(),
    last_used_at timestamptz,
    revoked_at   timestamptz,
    primary key (account_id, id)
);

-- Sessions of people in a browser. The id itself is in their cookie only.
create table web_sessions (
    id_sha256         bytea primary key check (length(id_sha256) = 32),
    -- What every form of the session must bring along.
    csrf_token        text not null,
    -- The tenant that this session looks at.
    chosen_account_id uuid references accounts (id),
    created_at        timestamptz not null default now(),
    expires_at        timestamptz not null
);
create index web_sessions_expired on web_sessions (expires_at);

-- A trip to Meta's dialog: good once, for the session that began it, for ten minutes. The PKCE verifier is sealed.
create table oauth_trips (
    account_id     uuid not null references accounts (id),
    id             uuid not null,
    state_sha256   bytea not null unique check (length(state_sha256) = 32),
    session_sha256 bytea not null references web_sessions (id_sha256) on delete cascade,
    kid            text not null,
    nonce          bytea not null,
    ciphertext     bytea not null,
    started_at     timestamptz not null default now(),
    primary key (account_id, id)
);

-- A token that was brought, while its owner chooses ad accounts; sealed, one a session and tenant, for half an hour.
create table connect_drafts (
    account_id       uuid not null references accounts (id),
    session_sha256   bytea not null references web_sessions (id_sha256) on delete cascade,
    id               uuid not null,
    kid              text not null,
    nonce            bytea not null,
    ciphertext       bytea not null,
    token_expires_at timestamptz,
    created_at       timestamptz not null default now(),
    primary key (account_id, session_sha256)
);

-- The runs of an integration, newest first: its page, and when it was last asked about.
create index sync_runs_of_integration on sync_runs (account_id, integration_id, requested_at desc);

-- Who asks: set for the length of a transaction, from the credential.
create function web_account() returns uuid language sql stable
    return nullif(current_setting('adledger.account_id', true), '')::uuid;
create function web_session() returns bytea language sql stable
    return decode(current_setting('adledger.session', true), 'hex');

-- Every tenant table alike. A table that somebody adds later is found by a test.
do $$
declare
    name text;
begin
    for name in
        select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'public' and c.relkind in ('r', 'p') and c.relname <> '_sqlx_migrations'
    loop
        execute format('alter table public.%I enable row level security', name);
    end loop;
    for name in
        select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'account_id' and not a.attisdropped
        where n.nspname = 'public' and c.relkind in ('r', 'p')
    loop
        execute format(
            'create policy tenant on public.%I to adledger_web using (account_id = web_account()) with check (account_id = web_account())',
            name);
    end loop;
end $$;
create policy tenant on accounts to adledger_web using (id = web_account()) with check (id = web_account());
create policy own on web_sessions to adledger_web using (id_sha256 = web_session()) with check (id_sha256 = web_session());
-- A trip and a draft are also the session's own: another session of the same tenant does not see them.
create policy own on oauth_trips as restrictive to adledger_web
    using (session_sha256 = web_session()) with check (session_sha256 = web_session());
create policy own on connect_drafts as restrictive to adledger_web
    using (session_sha256 = web_session()) with check (session_sha256 = web_session());

-- A view asks with the rights of who asks it.
alter view sync_days_unfolded set (security_invoker = true);
alter view sync_days_owed set (security_invoker = true);

grant usage on schema public to adledger_web;
grant select on
    accounts, ad_accounts, integrations, sync_cursors, sync_runs, sync_days, meta_insights_raw, observations, fact_meta_daily,
    daily_meta_metrics, daily_summary, sync_days_unfolded, sync_days_owed, web_sessions, oauth_trips, connect_drafts
    to adledger_web;
-- What a connection is made of. A sealed token can be written and deleted here, and never read.
grant insert on accounts, ad_accounts, integrations, integration_secrets, sync_runs, outbox to adledger_web;
grant update (name) on accounts to adledger_web;
grant update (name, status) on ad_accounts to adledger_web;
grant update (status, status_reason, connected_at) on integrations to adledger_web;
grant select (account_id, integration_id, kid, expires_at), delete on integration_secrets to adledger_web;
-- A disconnected integration's runs end.
grant update (status, error_code, error_message, lease_until, lease_epoch, finished_at) on sync_runs to adledger_web;
grant insert, update, delete on web_sessions to adledger_web;
grant insert, delete on oauth_trips, connect_drafts to adledger_web;
grant select (account_id, id, name, created_at, last_used_at, revoked_at) on api_tokens to adledger_web;

-- Three questions come before the tenant is known. They are answered with the owner's rights, and say no more than this.

-- The tenants that an administrator can choose from, and that the scheduler goes through.
create function web_tenants() returns table (id uuid, name text, currency text, timezone text)
    language sql stable security definer set search_path = public, pg_temp
    begin atomic
        select a.id, a.name, a.currency::text, a.timezone from accounts a order by a.name, a.id;
    end;
-- Whose API token has this hash; written down when it was used, by the minute.
create function web_tenant_of_token(sha256 bytea) returns uuid
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    found_id uuid;
    tenant uuid;
    used_at timestamptz;
begin
    select t.id, t.account_id, t.last_used_at into found_id, tenant, used_at
    from api_tokens t where t.token_sha256 = sha256 and t.revoked_at is null;
    if used_at is null or used_at < now() - interval '1 minute' then
        update api_tokens t set last_used_at = now() where t.account_id = tenant and t.id = found_id;
    end if;
    return tenant;
end $$;
-- Sessions, trips and drafts whose time is over.
create function web_forget_expired() returns void
    language sql security definer set search_path = public, pg_temp
    begin atomic
        delete from web_sessions where expires_at <= now();
        delete from oauth_trips where started_at < now() - interval '10 minutes';
        delete from connect_drafts where created_at < now() - interval '30 minutes';
    end;
revoke all on function web_tenants(), web_tenant_of_token(bytea), web_forget_expired() from public;
grant execute on function web_tenants(), web_tenant_of_token(bytea), web_forget_expired() to adledger_web;
