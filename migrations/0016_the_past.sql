-- The web side folds the past from the raw log, held to one tenant like everything it does; until now it read the log's
-- rows and not the bytes.
grant select on meta_payloads to adledger_web;
