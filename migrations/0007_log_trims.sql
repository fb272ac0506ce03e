-- What `streams trim` took out of the insights log, written down before the first message goes: from then on
-- meta_insights_raw is the only copy of these events, and an audit does not miss them in the stream.

create table log_trims (
    -- The stream's creation time, and the highest sequence that the trim may have taken.
    stream_incarnation timestamptz not null,
    up_to_sequence     bigint not null,
    -- Report days before this one.
    before             date not null,
    events             bigint not null,
    bytes              bigint not null,
    trimmed_at         timestamptz not null default now(),
    primary key (stream_incarnation, up_to_sequence, before)
);
