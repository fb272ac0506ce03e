-- What counts as a purchase, an integration, as versioned rows: which of Meta's action types, and by which attribution window.
-- An integration without a row has version 1, which the fold holds itself. A changed rule is another row, and the days of
-- the ad account are folded again by it.

create table purchase_rules (
    account_id         uuid not null,
    integration_id     uuid not null,
    version            int not null check (version > 1),
    -- In order of preference, the first of which Meta sent anything counts; `a+b` are types that do not overlap and are added.
    alternatives       text[] not null check (
        cardinality(string_to_array(array_to_string(alternatives, '+'), '+')) between 1 and 8
        and not '' = any (string_to_array(array_to_string(alternatives, '+'), '+'))),
    -- 'unified' is the value by the ad account's own setting; else one of Meta's windows, such as 7d_click.
    attribution_window text not null check (attribution_window <> ''),
    created_at         timestamptz not null default now(),
    primary key (account_id, integration_id, version),
    foreign key (account_id, integration_id) references integrations (account_id, id)
);

-- A transaction that folds holds this lock shared before it asks which rules there are, and who adds a rule waits for all
-- that hold it. So from the moment that a rule is there, nothing more is folded by the one before, and the days that have to
-- be folded again are all to be seen.
create function purchase_rules_hold() returns void language sql
    as $$ select pg_advisory_xact_lock_shared(7263541820331) $$;

create function purchase_rules_are_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        perform pg_advisory_xact_lock(7263541820331);
        return null;
    end if;
    raise exception 'purchase_rules is append-only: a changed rule is another version';
end $$;
create trigger purchase_rules_are_append_only before insert or update or delete or truncate on purchase_rules
    for each statement execute function purchase_rules_are_append_only();

-- By which rule an event was folded, and the windows that its request asked for, joined by commas: null where the event was
-- folded before this column was there.
alter table observations
    add column rule_version int not null default 1,
    add column attribution_windows text;
create index observations_by_rule on observations (account_id, ad_account_id, rule_version);
-- Whether the rule's window was asked for. Purchases of a window that nobody asked for are unknown, and so is every sum that
-- they would belong to; purchases that Meta did not send are null as well, and add nothing to a sum.
alter table fact_meta_daily add column purchases_known bool not null default true;
alter table daily_meta_metrics add column purchases_known bool not null default true;
comment on column fact_meta_daily.purchases_known is 'the attribution window of the rule was asked for';
comment on column daily_meta_metrics.purchases_known is
    'every row that counts was folded by one rule, and its attribution window was asked for';

-- The newest rule of each integration that has one.
create view purchase_rules_newest with (security_invoker = true) as
select distinct on (r.account_id, r.integration_id)
       r.account_id, r.integration_id, i.ad_account_id, r.version, r.alternatives, r.attribution_window, r.created_at
from purchase_rules r
join integrations i on i.account_id = r.account_id and i.id = r.integration_id
order by r.account_id, r.integration_id, r.version desc;

-- Days of which an event was folded by an older rule than the newest: they have to be folded again.
create view purchase_rule_days_behind with (security_invoker = true) as
select distinct r.account_id, r.integration_id, r.ad_account_id, o.date, r.version
from purchase_rules_newest r
join observations o
    on o.account_id = r.account_id and o.ad_account_id = r.ad_account_id and o.rule_version < r.version;

alter table purchase_rules enable row level security;
create policy tenant on purchase_rules to adledger_web using (account_id = web_account()) with check (account_id = web_account());
grant select on purchase_rules, purchase_rules_newest, purchase_rule_days_behind to adledger_web;
