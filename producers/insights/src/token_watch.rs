//! Once a day each token is asked about, before its end is noticed by the days that stop coming.

use std::time::Duration;

use accounts::{
    DueCheck, Expiry, Integration, KeyRing, KnownToken, Seal, Status, THRESHOLDS_DAYS, check_done, checked,
    replace_token, take_due_check, unanswered,
};
use chrono::{DateTime, TimeDelta, Utc};
use meta_api::{App, Class, Error, MetaApi, TokenFacts, ToldBy};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Clock;

/// The role's name among the leaders.
const ROLE: &str = "tokens";
/// How often the leader looks, and whoever is not asks whether the lead is free.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a leader leads without a sign of life: longer than the answers to a token's questions may take. Two at once would
/// harm nothing, because whoever asks about a token has put its next turn off before.
const LEAD_FOR: Duration = Duration::from_secs(180);
/// A token of our own app that ends sooner is exchanged for a longer-lived one: a day before the first warning, so that nobody
/// is warned of what mends itself.
const EXCHANGE_BEFORE: TimeDelta = TimeDelta::days(THRESHOLDS_DAYS[0] as i64 + 1);
/// While the app is throttled nobody is asked about, for as long as Meta says but no longer than this.
const MOST_PAUSE: Duration = Duration::from_secs(3600);

/// Asks Meta about tokens, and warns of their ends. Any number of processes may run one; one of them leads.
pub struct TokenWatch {
    pub pool: PgPool,
    pub api: MetaApi,
    pub keys: KeyRing,
    /// Without it Meta does not say when a token ends; whether it is good is asked all the same.
    pub app: Option<App>,
    pub clock: Clock,
}

/// What came of asking about one token.
enum Outcome {
    /// It is good.
    Good(TokenFacts),
    /// Meta takes it no more, or lets it read no ads.
    Refused(Error),
    /// Nobody knows.
    Unanswered(Error),
}

impl TokenWatch {
    /// Watches until cancelled; then the lead is given up.
    pub async fn run(&self, cancel: &CancellationToken) {
        let holder = Uuid::new_v4();
        while !cancel.is_cancelled() {
            let Some(looked) = cancel.run_until_cancelled(self.look(Some(holder))).await else { break };
            let pause = looked.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "tokens cannot be watched now");
                LOOK_EVERY
            });
            let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
        }
        // Otherwise the lead is free when its time is over.
        let _ = tokio::time::timeout(Duration::from_secs(1), runs::resign(&self.pool, ROLE, holder)).await;
    }

    /// Asks about each token whose turn it is, and then warns, as long as the leader leads; of no leader, whoever leads. Returns
    /// how long to wait before the next look.
    async fn look(&self, leader: Option<Uuid>) -> sqlx::Result<Duration> {
        loop {
            if let Some(holder) = leader
                && !runs::lead(&self.pool, ROLE, holder, LEAD_FOR).await?
            {
                return Ok(LOOK_EVERY);
            }
            let now = self.clock.now();
            let Some(due) = take_due_check(&self.pool, now).await? else {
                self.warn(now).await?;
                return Ok(LOOK_EVERY);
            };
            if let Some(throttled) = self.check(&due, now).await? {
                return Ok(throttled);
            }
        }
    }

    /// One look, whoever leads: of any number at once, each token is asked about by one.
    pub async fn look_once(&self) -> sqlx::Result<()> {
        self.look(None).await.map(drop)
    }

    async fn warn(&self, now: DateTime<Utc>) -> sqlx::Result<()> {
        for warned in accounts::warn_of_ends(&self.pool, now).await? {
            let warning = warned.end.warning(now).unwrap_or_default();
            tracing::warn!(
                ad_account = warned.external_id,
                threshold_days = warned.threshold,
                warning,
                "a token ends soon"
            );
        }
        Ok(())
    }

    /// Asks about one token, and writes down what came of it; returns how long nobody is to be asked about, where Meta
    /// throttles the app.
    async fn check(&self, due: &DueCheck, now: DateTime<Utc>) -> sqlx::Result<Option<Duration>> {
        let Some(integration) = accounts::integration(&self.pool, due.integration_id).await? else { return Ok(None) };
        let kept = match accounts::token(&self.pool, &self.keys, &integration).await? {
            Some(Ok(kept)) => kept,
            Some(Err(error)) => {
                unanswered(&self.pool, due, &error.to_string(), now, None).await?;
                return Ok(None);
            }
            None => return Ok(None),
        };
        let ad_account = &integration.external_id;
        match self.ask(&kept.token, &integration).await {
            Outcome::Good(facts) => {
                let known = known(&facts);
                let told = (facts.told_by == ToldBy::App).then_some(&known);
                checked(&self.pool, due, &kept.seal, told, now).await?;
                tracing::info!(ad_account, token = known.words(now), "asked about a token");
                self.exchange(&integration, &kept.token, &kept.seal, &known, now).await;
                check_done(&self.pool, due).await?;
            }
            Outcome::Refused(error) => {
                let sentence = error.to_string();
                let refused = accounts::set_status(&self.pool, &integration, Status::NeedsReconnect, Some(&sentence));
                if refused.await? {
                    tracing::warn!(ad_account, %error, "an integration needs to be connected again");
                }
            }
            Outcome::Unanswered(error) => {
                tracing::warn!(ad_account, %error, "a token could not be asked about; trying again later");
                let (pause, not_before) = match &error {
                    Error::Throttled { class, retry_after, .. } => {
                        let wait = retry_after.unwrap_or_default().clamp(LOOK_EVERY, MOST_PAUSE);
                        let not_before = TimeDelta::from_std(wait).ok().map(|wait| now + wait);
                        ((*class == Class::AppThrottle).then_some(wait), not_before)
                    }
                    _ => (None, None),
                };
                unanswered(&self.pool, due, &error.to_string(), now, not_before).await?;
                return Ok(pause);
            }
        }
        Ok(None)
    }

    async fn ask(&self, token: &SecretString, integration: &Integration) -> Outcome {
        match self.api.token_facts(self.app.as_ref(), token).await {
            Ok(facts) => match facts.trouble(&format!("ad account {}", integration.external_id)) {
                Some(trouble) => Outcome::Refused(trouble),
                None => Outcome::Good(facts),
            },
            Err(error @ Error::Permission { .. }) => Outcome::Refused(error),
            Err(error) => Outcome::Unanswered(error),
        }
    }

    /// Exchanges a token of our own app that ends soon for one that lasts longer. Whatever goes wrong, the one that works stays:
    /// the new one takes its place only once Meta has said that it is good, and for how long.
    async fn exchange(
        &self,
        integration: &Integration,
        token: &SecretString,
        seal: &Seal,
        known: &KnownToken,
        now: DateTime<Utc>,
    ) {
        let (Some(app), Expiry::At(end)) = (&self.app, known.expiry) else { return };
        if known.app_id.as_deref() != Some(app.app_id.as_str()) || end <= now || end - now > EXCHANGE_BEFORE {
            return;
        }
        let ad_account = &integration.external_id;
        let longer = async {
            let granted = self.api.long_lived(app, token).await?;
            let facts = self.api.debug_token(app, &granted.token).await?;
            Ok::<_, Error>((granted.token, facts))
        };
        let (longer, facts) = match longer.await {
            Ok(longer) => longer,
            Err(error) => {
                tracing::warn!(ad_account, %error, "a token was not exchanged for a longer-lived one; it is kept");
                return;
            }
        };
        let is_later = facts.never_expires || facts.expires_at.is_some_and(|at| at > end);
        if !is_later || facts.trouble(ad_account).is_some() || longer.expose_secret() == token.expose_secret() {
            tracing::info!(ad_account, "Meta gives no longer-lived token");
            return;
        }
        let known = self::known(&facts);
        match replace_token(&self.pool, &self.keys, integration, seal, &longer, &known).await {
            Ok(true) => {
                tracing::info!(ad_account, token = known.words(now), "a token was exchanged for a longer-lived one")
            }
            Ok(false) => tracing::info!(ad_account, "a token was replaced by somebody else meanwhile"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(ad_account, error, "a longer-lived token was not kept; the old one is")
            }
        }
    }
}

fn known(facts: &TokenFacts) -> KnownToken {
    let expiry = match facts.expires_at {
        Some(at) => Expiry::At(at),
        None if facts.never_expires => Expiry::Never,
        None => Expiry::Unknown,
    };
    let app_id = facts.app_id.clone().filter(|_| facts.told_by == ToldBy::App);
    KnownToken { app_id, expiry, data_access_expires_at: facts.data_access_expires_at }
}
