-- Tenants, their ad accounts, the integrations that connect them, and the sealed secrets.

create table accounts (
    id         uuid primary key,
    name       text not null check (name <> ''),
    currency   char(3) not null check (currency ~ '^[A-Z]{3}$'),
    timezone   text not null,
    created_at timestamptz not null default now()
);

-- `last_fetched_at` is the newest instant handed out as a snapshot's version: taken under this row's lock, from this
-- database's clock, and always above the one before, so that no two snapshots of an ad account share a version.
create table ad_accounts (
    account_id      uuid not null references accounts (id),
    id              uuid not null unique,
    platform        text not null check (platform = 'meta'),
    external_id     text not null,
    name            text not null,
    currency        char(3) not null,
    timezone_name   text not null,
    status          text not null,
    last_fetched_at timestamptz,
    primary key (account_id, id),
    unique (account_id, platform, external_id)
);

-- A tenant's currency is the unit of every sum: once an ad account exists it stays.
create function accounts_currency_stays() returns trigger language plpgsql as $$
begin
    if new.currency <> old.currency and exists (select from ad_accounts where account_id = old.id) then
        raise exception 'the currency of account % cannot change: it has ad accounts', old.id using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger accounts_currency_stays before update of currency on accounts
    for each row execute function accounts_currency_stays();

create table integrations (
    account_id              uuid not null references accounts (id),
    id                      uuid not null unique,
    ad_account_id           uuid not null,
    type                    text not null check (type = 'meta'),
    -- Who answers for it: Meta, or the stub. What the stub makes up never mixes with what Meta says.
    source                  text not null check (source in ('meta', 'stub')),
    status                  text not null check (status in ('connected', 'needs_reconnect', 'blocked', 'disconnected')),
    status_reason           text,
    attribution_window_days int not null default 7 check (attribution_window_days between 1 and 28),
    connected_at            timestamptz not null default now(),
    primary key (account_id, id),
    unique (account_id, ad_account_id, type),
    foreign key (account_id, ad_account_id) references ad_accounts (account_id, id)
);

create table integration_secrets (
    account_id     uuid not null,
    integration_id uuid not null,
    kid            text not null,
    nonce          bytea not null,
    ciphertext     bytea not null,
    expires_at     timestamptz,
    primary key (account_id, integration_id),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);
