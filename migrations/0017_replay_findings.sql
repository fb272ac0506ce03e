-- What a replay could not do, over all its legs: one that was broken off and taken up again ends with the findings of
-- both.

alter table replays
    -- Days that were left as they are, because an event of theirs could not be read.
    add column days_left  bigint not null default 0,
    -- Events that cannot be folded.
    add column unfoldable bigint not null default 0;
