-- How often a tenant's day changed in daily_summary, as every change is announced with its number: who listens applies only what
-- is above the number it has.

-- A row outlives its day's summary: a day that is taken out and comes back goes on counting. It is written under the lock of
-- the summary's row, in the transaction that changes it, so that the numbers are in the order of the changes and have no gap.
create table daily_summary_versions (
    account_id uuid not null,
    date       date not null,
    version    bigint not null check (version > 0),
    primary key (account_id, date)
);

-- A number that went back would hide the changes after it from everybody who has seen the one before.
create function daily_summary_versions_only_grow() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.version > old.version then
        return new;
    end if;
    raise exception 'daily_summary_versions only grows: whoever listens knows the day by a higher version already';
end $$;
create trigger daily_summary_versions_only_grow before update or delete on daily_summary_versions
    for each row execute function daily_summary_versions_only_grow();
create trigger daily_summary_versions_stay before truncate on daily_summary_versions
    for each statement execute function daily_summary_versions_only_grow();

alter table daily_summary_versions enable row level security;
create policy tenant on daily_summary_versions to adledger_web
    using (account_id = web_account()) with check (account_id = web_account());
grant select on daily_summary_versions to adledger_web;
