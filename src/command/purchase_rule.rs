use std::cell::RefCell;

use accounts::Integration;
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use logs::Logs;
use projections::purchases;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::log_source::{LogChoice, with_log};
use super::names::Names;
use super::replay;
use crate::boot::Boot;
use crate::exit::{Outcome, usage};
use crate::output::{self, or_dash};
use crate::progress::Progress;

/// Say what counts as a purchase: which of Meta's action types, and by which attribution window
///
/// A changed rule folds all days of the ad account again, from the log: Meta is not asked. Purchases of a window that
/// was not asked for when a day was fetched are unknown there (null), and not 0.
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct PurchaseRule {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the rules of each integration, newest first; every integration begins with version 1
    List {
        /// This integration only
        #[arg(long, value_name = "ID")]
        integration: Option<Uuid>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the rule of an integration, and fold all days of its ad account again by it
    ///
    /// The rule holds for new events from the moment it is written. When the command is broken off, the same command
    /// goes on with the days that are left; `adledger status` says how many those are.
    Set {
        /// Id of the integration, as `adledger status` shows it
        #[arg(long, value_name = "ID")]
        integration: Uuid,
        /// Meta's action type; repeated, the first that Meta sent counts, and a+b adds types that do not overlap
        #[arg(long = "action-type", value_name = "TYPE", required = true)]
        action_types: Vec<String>,
        /// Whose purchases: unified (the ad account's own setting), or a window such as 1d_click, 7d_click, 1d_view
        #[arg(long, value_name = "WINDOW", default_value = purchases::UNIFIED)]
        window: String,
        /// Which log to read
        #[arg(long, default_value = "stream")]
        from: LogChoice,
    },
    /// Go on folding the days again that an older rule was used for
    Refold {
        /// Id of the integration, as `adledger status` shows it
        #[arg(long, value_name = "ID")]
        integration: Uuid,
        /// Which log to read
        #[arg(long, default_value = "stream")]
        from: LogChoice,
    },
}

/// A rule as programs read it.
#[derive(Serialize)]
struct Entry {
    integration_id: Uuid,
    ad_account: String,
    version: i32,
    /// Whether it is the one that holds.
    newest: bool,
    /// In order of preference; `a+b` are added.
    action_types: Vec<String>,
    attribution_window: String,
    created_at: Option<DateTime<Utc>>,
    /// Days that an older rule was used for, of the newest one; a refold goes on with them.
    days_behind: Option<i64>,
}

/// One sentence on an integration that is not folded by its newest rule alone.
pub(super) fn behind(behind: &purchases::Behind) -> String {
    let purchases::Behind { integration_id, external_id, version, days } = behind;
    format!(
        "{days} days of {external_id} are not folded by version {version} of its purchase rule yet: \
         `adledger purchase-rule refold --integration {integration_id}` goes on."
    )
}

impl PurchaseRule {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        match self.action {
            Action::List { integration, json } => {
                let (pool, _servers) = boot.tables().await?;
                list(&pool, integration, json).await
            }
            Action::Set { integration, action_types, window, from } => {
                accounts::check_purchase_rule(&action_types, &window).map_err(usage)?;
                let asked = &boot.settings.asked.query.attribution_windows;
                if window != purchases::UNIFIED && accounts::is_attribution_window(&window) && !asked.contains(&window)
                {
                    eprintln!(
                        "{window} is not among META_ATTRIBUTION_WINDOWS ({}): purchases of days that are fetched so stay \
                         unknown; add it there.",
                        asked.join(",")
                    );
                }
                with_log(boot, from, async |pool, logs| {
                    let integration = known(pool, integration).await?;
                    set(pool, &integration, action_types, window).await?;
                    refold(pool, &integration, logs).await
                })
                .await
            }
            Action::Refold { integration, from } => {
                with_log(boot, from, async |pool, logs| refold(pool, &known(pool, integration).await?, logs).await)
                    .await
            }
        }
    }
}

async fn known(pool: &PgPool, id: Uuid) -> Result<Integration> {
    accounts::integration(pool, id)
        .await?
        .with_context(|| format!("integration {id} does not exist: `adledger status` lists them"))
}

/// The rule that every integration begins with.
fn first() -> accounts::PurchaseRule {
    accounts::PurchaseRule {
        version: 1,
        alternatives: purchases::FIRST.map(str::to_owned).into(),
        attribution_window: purchases::UNIFIED.to_owned(),
        created_at: None,
    }
}

async fn set(pool: &PgPool, integration: &Integration, action_types: Vec<String>, window: String) -> Result<()> {
    let (rule, changed) = accounts::set_purchase_rule(pool, integration, first(), action_types, window).await?;
    output::line(&format!(
        "{} {}: purchases are {} by {}, version {} of the rule.",
        integration.external_id,
        if changed { "has a new rule" } else { "has this rule already" },
        rule.alternatives.join(", else "),
        rule.attribution_window,
        rule.version,
    ))
}

/// Folds what an older rule was used for again. Days that come to it meanwhile are none: new events are folded by the
/// newest.
async fn refold(pool: &PgPool, integration: &Integration, logs: Logs) -> Result<Outcome> {
    let both = logs.other.is_some();
    let replay = replay::refold(pool, logs);
    let progress = RefCell::new(Progress::new(replay::PROGRESS));
    let report = replay
        .run_behind(integration.account_id, integration.ad_account_id, |report| replay::show(&progress, report))
        .await?;
    drop(progress);
    if report.days_total == 0 {
        output::line("Every day is folded by this rule; there is nothing to do.")?;
    }
    let outcome = if report.days_total == 0 {
        Outcome::Done
    } else {
        let told = replay::Told { report: &report, totals: None, both, dry_run: false };
        replay::tell(&told, &Names::load(pool).await?, false)?
    };
    let unknown = sqlx::query!(
        r#"select count(*) as "days!", min(date) as first, max(date) as last from daily_meta_metrics
           where account_id = $1 and ad_account_id = $2 and not purchases_known"#,
        integration.account_id,
        integration.ad_account_id,
    )
    .fetch_one(pool)
    .await?;
    if let (days @ 1.., Some(first), Some(last)) = (unknown.days, unknown.first, unknown.last) {
        eprintln!(
            "Purchases are unknown for {days} days between {first} and {last}: the window was not asked for when they \
             were fetched."
        );
    }
    Ok(outcome)
}

async fn list(pool: &PgPool, only: Option<Uuid>, json: bool) -> Result<Outcome> {
    let integrations = match only {
        Some(id) => vec![known(pool, id).await?],
        None => accounts::integrations(pool).await?,
    };
    let behind = purchases::behind(pool).await?;
    let mut entries = Vec::new();
    for integration in &integrations {
        let mut rules = accounts::purchase_rules(pool, integration).await?;
        rules.push(first());
        let newest = rules[0].version;
        let days = behind.iter().find(|b| b.integration_id == integration.id).map_or(0, |b| b.days);
        entries.extend(rules.into_iter().map(|rule| Entry {
            integration_id: integration.id,
            ad_account: integration.external_id.clone(),
            newest: rule.version == newest,
            days_behind: (rule.version == newest).then_some(days),
            version: rule.version,
            action_types: rule.alternatives,
            attribution_window: rule.attribution_window,
            created_at: rule.created_at,
        }));
    }
    if json {
        output::json(&entries)?;
        return Ok(Outcome::Done);
    }
    for integration in &integrations {
        output::line(&format!("{}, integration {}", integration.external_id, integration.id))?;
        let mut table = output::table(&["version", "action types", "window", "set at", "days to refold"]);
        output::right(&mut table, [0, 4]);
        for e in entries.iter().filter(|e| e.integration_id == integration.id) {
            table.add_row([
                e.version.to_string(),
                e.action_types.join("\n").replace('+', "\n  + "),
                e.attribution_window.clone(),
                or_dash(e.created_at.map(output::time)),
                or_dash(e.days_behind),
            ]);
        }
        output::line(&table.to_string())?;
    }
    for behind in behind.iter().filter(|b| integrations.iter().any(|i| i.id == b.integration_id)) {
        output::line(&self::behind(behind))?;
    }
    Ok(Outcome::Done)
}
