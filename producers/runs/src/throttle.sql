-- Writes a throttle down, by this database's clock.
--   $1 scope, $2 key, $3 seconds that Meta asked for (or null), $4 the longest wait where it asked for none, $5 its words,
--   $6 whether it was told to the one that tried again
with told as (
    -- One that comes while the last one lasts is the same; else it is one more in a row. For the others it still lasts while one
    -- tries again, so that this one says so.
    select coalesce(max(t.in_a_row + (case when t.blocked_until > clock_timestamp() and not $6 then 0 else 1 end)), 1) as in_a_row
    from throttles t where t.scope = $1 and t.key = $2
), wait as (
    select in_a_row, coalesce($3::float8, least($4::float8, power(2, least(in_a_row - 1, 20))) * (0.5 + random() / 2)) as seconds
    from told
)
insert into throttles as t (scope, key, blocked_until, in_a_row, reason)
select $1, $2, clock_timestamp() + make_interval(secs => seconds), in_a_row, $5 from wait
on conflict (scope, key) do update
set blocked_until = greatest(t.blocked_until, excluded.blocked_until),
    in_a_row = greatest(t.in_a_row, excluded.in_a_row),
    reason = excluded.reason
returning t.blocked_until, t.in_a_row, t.reason,
          greatest(extract(epoch from t.blocked_until - clock_timestamp()), 0)::float8 as "remaining!"
