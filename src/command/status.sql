-- Integrations with how far each has come.
select i.account_id,
       t.name as account,
       i.id as integration_id,
       a.external_id as ad_account,
       i.status,
       i.status_reason,
       (select c.value from sync_cursors c
        where c.account_id = i.account_id and c.integration_id = i.id and c.name = 'meta_last_window_end') as sync_cursor,
       (select count(*) from sync_days d
        where d.account_id = i.account_id and d.integration_id = i.id and d.state <> 'published') as "days_owed!",
       (select max(m.date) from daily_meta_metrics m
        where m.account_id = i.account_id and m.ad_account_id = i.ad_account_id) as newest_day,
       a.last_fetched_at
from integrations i
join accounts t on t.id = i.account_id
join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
order by t.name, a.external_id
