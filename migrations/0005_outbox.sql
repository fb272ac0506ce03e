-- Events that were written in the transaction of the state they announce, and wait for the relay. A row is deleted when
-- the stream has the event.

create table outbox (
    account_id uuid not null,
    event_id   uuid not null,
    subject    text not null,
    -- The CloudEvents headers, [[name, value], …], as they travel.
    headers    jsonb not null,
    payload    bytea not null,
    written_at timestamptz not null default now(),
    -- A row that could not be published waits, so that it is in nobody's way.
    attempts   int not null default 0,
    not_before timestamptz not null default now(),
    last_error text,
    primary key (account_id, event_id)
);
create index outbox_due on outbox (not_before);
