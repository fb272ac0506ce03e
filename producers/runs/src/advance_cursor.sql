-- Moves the sync cursor of an integration.
--   $1 account, $2 integration, $3 cursor, $4 and $5 the run's window
-- Days at or below the cursor do not hold it: it has passed them, and only grows. Of the days above it, the first one
-- still owed is where it stops, and so is the first one that nobody planned yet: a window may begin after days that were
-- missed while nothing could be fetched. Those that Meta is about to forget hold nothing. Without a cursor the window's own days count.
with before as (
    select max(value) as value from sync_cursors
    where account_id = $1 and integration_id = $2 and name = $3
),
first_owed as (
    select min(d.date) as date from sync_days d, before
    where d.account_id = $1 and d.integration_id = $2 and d.state <> 'published'
      and d.date > coalesce(before.value, $4::date - 1)
),
first_missed as (
    select min(missed.date)::date as date
    from before,
         generate_series(greatest(before.value + 1, $4::date - interval '36 months'), $4::date - 1, interval '1 day')
             as missed (date)
    where before.value is not null and not exists (
        select from sync_days d
        where d.account_id = $1 and d.integration_id = $2 and d.date = missed.date::date)
),
reached as (
    select least($5::date, first_owed.date - 1, first_missed.date - 1) as value from first_owed, first_missed
)
insert into sync_cursors (account_id, integration_id, name, value)
select $1, $2, $3, reached.value from reached
where reached.value >= $4::date or exists (select from before where value is not null)
on conflict (account_id, integration_id, name)
do update set value = greatest(sync_cursors.value, excluded.value)
