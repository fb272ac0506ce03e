-- A row of one tenant in every table.
insert into accounts (id, name, currency, timezone) values (:account, 'Tenant :n', 'EUR', 'UTC');
insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
values (:account, :ad, 'meta', 'act_:n', 'Ad account', 'EUR', 'UTC', 'active');
insert into integrations (account_id, id, ad_account_id, type, source, status)
values (:account, :int, :ad, 'meta', 'meta', 'connected');
insert into integration_secrets (account_id, integration_id, kid, nonce, ciphertext) values (:account, :int, 'k', '', '');
insert into sync_cursors (account_id, integration_id, name, value) values (:account, :int, 'meta_last_window_end', '2026-05-10');
insert into sync_runs (account_id, id, integration_id, job_type, trigger, status)
values (:account, gen_random_uuid(), :int, 'meta_fresh', 'manual', 'queued');
insert into purchase_rules (account_id, integration_id, version, alternatives, attribution_window)
values (:account, :int, 2, array['purchase'], 'unified');
insert into fetch_shapes (account_id, integration_id, page_limit, most_days, way) values (:account, :int, 500, 31, 'pages');
-- One day that is owed and one that was published and not folded, for the views.
insert into sync_days (account_id, integration_id, date, state) values (:account, :int, '2026-05-09', 'due');
insert into sync_days (account_id, integration_id, date, state, last_event_id, last_fetched_at)
values (:account, :int, '2026-05-10', 'published', gen_random_uuid(), now());
insert into meta_payloads (account_id, payload_sha256, payload) values (:account, sha256(':n'), '');
insert into meta_insights_raw (account_id, ad_account_id, date, event_id, fetched_at, stored_at, stream_incarnation,
                               stream_sequence, codec, payload_sha256, headers)
values (:account, :ad, '2026-05-09', gen_random_uuid(), now(), now(), now(), 1, 'plain', sha256(':n'), '[]');
insert into observations (account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
                          projection_version)
values (:account, :ad, '2026-05-09', gen_random_uuid(), now(), 1, 0, '', 1);
insert into fact_meta_daily (account_id, ad_account_id, date, ad_id, currency, attribution_window, rule_version, event_id,
                             fetched_at)
values (:account, :ad, '2026-05-09', '1', 'EUR', 'value', 1, gen_random_uuid(), now());
insert into daily_meta_metrics (account_id, ad_account_id, date, currency, ads, provisional, event_id, fetched_at,
                                content_sha256, projection_version)
values (:account, :ad, '2026-05-09', 'EUR', 1, true, gen_random_uuid(), now(), '', 1);
insert into daily_summary (account_id, date) values (:account, '2026-05-09');
insert into daily_summary_versions (account_id, date, version) values (:account, '2026-05-09', 1);
insert into outbox (account_id, event_id, subject, headers, payload) values (:account, gen_random_uuid(), 'x', '[]', '');
insert into initial_fills (account_id, integration_id, event_source, event_id, run_id)
values (:account, :int, 'x', 'x', gen_random_uuid());
insert into daily_jobs (account_id, integration_id, job_type, last_date) values (:account, :int, 'meta_settle', '2026-05-10');
insert into api_tokens (account_id, id, name, token_sha256) values (:account, gen_random_uuid(), 'x', sha256(':n'));
insert into web_sessions (id_sha256, csrf_token, expires_at) values (sha256(':n'), 'x', now() + interval '1 hour');
insert into oauth_trips (account_id, id, state_sha256, session_sha256, kid, nonce, ciphertext)
values (:account, gen_random_uuid(), sha256(':n'), sha256(':n'), 'k', '', '');
insert into connect_drafts (account_id, session_sha256, id, kid, nonce, ciphertext)
values (:account, sha256(':n'), gen_random_uuid(), 'k', '', '');
