//! Every event type with what the documents say of it beside its schema.

use crate::{
    AD_ACCOUNT_CONNECTED_V1, AD_ACCOUNT_DISCONNECTED_V1, AD_ACCOUNT_RECONNECTED_V1, DAILY_SUMMARY_CHANGED_V1,
    INSIGHTS_FETCHED_V1, SYNC_REQUESTED_V1, TOKEN_EXPIRING_V1,
};

/// Where events of some types travel together.
#[derive(Debug)]
pub struct Channel {
    /// Its name in the AsyncAPI document.
    pub name: &'static str,
    pub stream: &'static str,
    /// The subject, its variable tokens in braces.
    pub subject: &'static str,
    pub about: &'static str,
    /// Whether events of other programs are read here too.
    pub takes_foreign: bool,
    pub events: &'static [Published],
}

/// An event type.
#[derive(Debug)]
pub struct Published {
    pub event_type: &'static str,
    pub title: &'static str,
    pub when: &'static str,
    pub source: &'static str,
    /// CloudEvents attributes that it can have beside those of every event: name, and what it says.
    pub attributes: &'static [(&'static str, &'static str)],
    /// One event as it travelled: a file of `tests/samples`.
    pub sample: &'static str,
}

macro_rules! sample {
    ($event_type:literal) => {
        include_str!(concat!("../tests/samples/", $event_type, ".json"))
    };
}

/// What the tokens of subjects stand for.
pub const TOKENS: [(&str, &str); 5] = [
    ("account_id", "the tenant, a UUID"),
    ("ad_account_id", "the ad account's id in adledger's tables, a UUID; Meta's own id is in the data"),
    ("integration_id", "the connection of an ad account to its tenant, a UUID"),
    ("date", "the day, `yyyy-mm-dd`"),
    ("priority", "`high`, `normal` or `low`"),
];

const ACCOUNTS: &str = "urn:adledger:accounts";

/// All channels, in the order of the documents.
pub const CHANNELS: [Channel; 4] = [
    Channel {
        name: "daily_summary",
        stream: "WAREHOUSE",
        subject: "warehouse.daily_summary.{account_id}.{date}",
        about: "What changes in the table `daily_summary`. The stream is for others: nothing of adledger's reads it.",
        takes_foreign: false,
        events: &[Published {
            event_type: DAILY_SUMMARY_CHANGED_V1,
            title: "A tenant's day changed",
            when: "When, and only when, a number of a tenant's day changes: because Meta said something new, because a \
                   replay found the row to be otherwise, or because a purchase rule was changed. A newer answer that says \
                   the same, and a replay that ends in the same row, are no events. The event's id is made of the account, \
                   the date and the version, and is the same however often it is sent.",
            source: "urn:adledger:projector",
            attributes: &[],
            sample: sample!("adledger.warehouse.daily_summary.changed.v1"),
        }],
    },
    Channel {
        name: "insights",
        stream: "META_INSIGHTS",
        subject: "meta.insights.{account_id}.{ad_account_id}.{date}",
        about: "The log of everything that Meta said; every table is folded from it.",
        takes_foreign: true,
        events: &[Published {
            event_type: INSIGHTS_FETCHED_V1,
            title: "An ad account's day was fetched",
            when: "Each time that a day of an ad account was fetched whole, also where Meta said the same as before. The \
                   event is a full snapshot. Of a day's events the one with the highest `(time, id)` is the newest, in \
                   whatever order they come.",
            source: "urn:adledger:insights",
            attributes: &[
                ("subject", "the ad account's id and the day, with a `/` between them"),
                ("runid", "the sync run that fetched; absent when another program published"),
                ("rowcount", "rows in the data"),
                ("pagecount", "answers of Meta's that the snapshot was read from"),
                ("datacodec", "how the payload is encoded: `plain` (also when absent) or `zstd`"),
                ("databytes", "size of the data before compression"),
                (
                    "dataref",
                    "where the payload is when it fits into no message: `nats-object://META_PAYLOADS/<sha256>`, an object \
                     of that bucket whose bytes have that sha256; the message's own payload is empty then",
                ),
                ("traceparent", "the span that the event was fetched in, in the W3C's form"),
            ],
            sample: sample!("adledger.meta.insights.fetched.v1"),
        }],
    },
    Channel {
        name: "connections",
        stream: "META_CONNECT",
        subject: "meta.connect.{account_id}.{integration_id}",
        about: "What happens to connections of ad accounts. An event of another program works like adledger's own: of it \
                only type and subject are read.",
        takes_foreign: true,
        events: &[
            Published {
                event_type: AD_ACCOUNT_CONNECTED_V1,
                title: "An ad account was connected",
                when: "When an ad account is connected to a tenant for the first time. Its last seven days are fetched.",
                source: ACCOUNTS,
                attributes: &[],
                sample: sample!("adledger.meta.ad_account.connected.v1"),
            },
            Published {
                event_type: AD_ACCOUNT_RECONNECTED_V1,
                title: "A connection was renewed",
                when: "When an ad account that was connected before gets another token, or is taken up again.",
                source: ACCOUNTS,
                attributes: &[],
                sample: sample!("adledger.meta.ad_account.reconnected.v1"),
            },
            Published {
                event_type: AD_ACCOUNT_DISCONNECTED_V1,
                title: "A connection was ended",
                when: "When somebody disconnects an ad account. Its numbers stay in the tables.",
                source: ACCOUNTS,
                attributes: &[],
                sample: sample!("adledger.meta.ad_account.disconnected.v1"),
            },
            Published {
                event_type: TOKEN_EXPIRING_V1,
                title: "A connection's token comes to its end",
                when: "Once each 14 days, 7 days and 1 day before a token ends.",
                source: ACCOUNTS,
                attributes: &[],
                sample: sample!("adledger.meta.token.expiring.v1"),
            },
        ],
    },
    Channel {
        name: "sync_requests",
        stream: "META_SYNC",
        subject: "meta.sync.{priority}.{integration_id}",
        about: "The doorbell of the fetchers. It is adledger's own: who wants a sync asks the API for one.",
        takes_foreign: false,
        events: &[Published {
            event_type: SYNC_REQUESTED_V1,
            title: "A sync run waits for a fetcher",
            when: "When a sync run is asked for, and when a fetcher gives one back.",
            source: "urn:adledger:runs",
            attributes: &[],
            sample: sample!("adledger.meta.sync.requested.v1"),
        }],
    },
];

impl Published {
    /// The sample, read.
    pub(crate) fn travelled(&self) -> Result<Travelled<'static>, serde_json::Error> {
        serde_json::from_str(self.sample)
    }
}

/// An event as it travelled. The data stays text: what Meta sent can hold more than a parsed string does.
#[derive(serde::Deserialize)]
pub(crate) struct Travelled<'a> {
    pub subject: String,
    pub headers: Vec<(String, String)>,
    #[serde(borrow)]
    pub data: &'a serde_json::value::RawValue,
}
