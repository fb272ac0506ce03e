-- The folds. Each table can be thrown away and folded again from the stream or from meta_insights_raw.

-- One row an event: what it said in sum. `(fetched_at, event_id)` is the snapshot's version.
create table observations (
    account_id          uuid not null,
    ad_account_id       uuid not null,
    date                date not null,
    event_id            uuid not null,
    fetched_at          timestamptz not null,
    age_days            int not null,
    row_count           int not null,
    -- sha256 of the decompressed data: equal answers have equal content.
    content_sha256      bytea not null,
    spend               numeric,
    impressions         bigint,
    purchases           numeric,
    purchase_value      numeric,
    control_spend       numeric,
    control_impressions bigint,
    -- The statuses that were asked for, joined by commas; null means every status.
    status_filter       text,
    projection_version  int not null,
    primary key (account_id, ad_account_id, date, event_id)
);

-- One row an ad and day, of the newest snapshot that contains the ad. `event_id` and `fetched_at` name the first event
-- that brought the content the row stands in: an unchanged answer rewrites nothing here.
create table fact_meta_daily (
    account_id           uuid not null,
    ad_account_id        uuid not null,
    date                 date not null,
    ad_id                text not null,
    adset_id             text,
    campaign_id          text,
    ad_name              text,
    adset_name           text,
    campaign_name        text,
    currency             char(3) not null,
    spend                numeric,
    impressions          bigint,
    clicks               bigint,
    inline_link_clicks   bigint,
    purchases            numeric,
    purchase_value       numeric,
    purchase_action_type text,
    attribution_window   text not null,
    rule_version         int not null,
    event_id             uuid not null,
    fetched_at           timestamptz not null,
    -- Version (its fetched_at) of the smallest snapshot above the row's own; null while the newest snapshot has the ad.
    absent_since         timestamptz,
    absence              text check (absence in ('not_returned', 'deleted')),
    primary key (account_id, ad_account_id, date, ad_id),
    check ((absent_since is null) = (absence is null))
);

-- One row an ad account and day; it is also the head of its day: newest version, its content, the projection's version.
create table daily_meta_metrics (
    account_id         uuid not null,
    ad_account_id      uuid not null,
    date               date not null,
    currency           char(3) not null,
    ads                int not null,
    spend              numeric,
    impressions        bigint,
    clicks             bigint,
    inline_link_clicks bigint,
    purchases          numeric,
    purchase_value     numeric,
    ctr                numeric,
    cpc                numeric,
    cpm                numeric,
    cpa                numeric,
    roas               numeric,
    control_spend      numeric,
    coverage           numeric,
    provisional        bool not null,
    event_id           uuid not null,
    fetched_at         timestamptz not null,
    content_sha256     bytea not null,
    projection_version int not null,
    primary key (account_id, ad_account_id, date)
);
comment on column daily_meta_metrics.ads is 'ads that count: present, or absent without proof';
comment on column daily_meta_metrics.ctr is 'clicks / impressions, a ratio';
comment on column daily_meta_metrics.cpc is 'spend / clicks';
comment on column daily_meta_metrics.cpm is 'spend / impressions * 1000';
comment on column daily_meta_metrics.cpa is 'spend / purchases';
comment on column daily_meta_metrics.roas is 'purchase_value / spend';
comment on column daily_meta_metrics.coverage is 'counted spend / control spend';
comment on column daily_meta_metrics.provisional is 'Meta may still restate: fetched 28 days after the day or sooner';

-- One row a tenant and day. The Meta fold writes the meta_ columns; other sources own theirs.
create table daily_summary (
    account_id          uuid not null,
    date                date not null,
    meta_spend          numeric,
    meta_impressions    bigint,
    meta_clicks         bigint,
    meta_purchases      numeric,
    meta_purchase_value numeric,
    meta_roas           numeric,
    shopify_orders      bigint,
    shopify_revenue     numeric,
    updated_at          timestamptz,
    primary key (account_id, date)
);
create index daily_meta_metrics_by_tenant_day on daily_meta_metrics (account_id, date);

-- Days that were published and not folded: on their way, or parked. Where they stay here, somebody has to look.
create view sync_days_unfolded as
select d.account_id, d.integration_id, i.ad_account_id, d.date, d.last_event_id, d.last_fetched_at
from sync_days d
join integrations i on i.account_id = d.account_id and i.id = d.integration_id
where d.state = 'published' and d.last_event_id is not null
  and not exists (
      select from observations o
      where o.account_id = d.account_id and o.ad_account_id = i.ad_account_id and o.date = d.date
        and o.event_id = d.last_event_id);
