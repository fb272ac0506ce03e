-- The web side folds the past from the raw log, held to one tenant like everything it does; until now it read the log's
-- rows and not the bytes.
grant select on meta_payloads to adledger_web;

-- It folds into temporary tables. Where the database belongs to another role, and temporary tables were taken from everybody,
-- that one grants it.
do $$
begin
    execute format('grant temporary on database %I to adledger_web', current_database());
exception
    when insufficient_privilege then
        raise notice 'as_of over HTTP needs: grant temporary on database % to adledger_web', current_database();
end $$;
