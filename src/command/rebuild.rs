use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use events::subject::AccountDay;
use logs::{Logs, Range};
use projections::SummaryKey;
use projector::AllNotFolded;
use projector::rebuild::{Applied, Loaded, Rebuilt};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use verifier::{Finding, Report, Tables, Verifier};

use super::findings;
use super::log_source::{LogChoice, with_log};
use super::names::Names;
use super::verify::named;
use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;
use crate::shutdown;

/// Ad accounts folded at once, unless somebody says otherwise.
const WORKERS: u64 = 2;
const ROWS_A_TRANSACTION: usize = 10_000;
/// How often the rebuilt tables are verified while live traffic comes in between.
const VERIFIED_AT_MOST: u32 = 4;
/// How long what is on its way gets to arrive.
const PATIENCE: Duration = Duration::from_secs(2);
/// Sentences that are shown of what differs.
const SHOWN: usize = 20;

/// Fold everything once more beside the live tables, and apply what differs to them
///
/// Everything is folded into the schema `rebuild`, caught up with live traffic, and verified; then the account-days that
/// differ are made equal, a few at a time, under the lock that every fold of them takes. The tables stay the same tables:
/// views, grants and policies on them are not touched. Rows that were replaced are kept in the schema `rebuild_undo` until
/// `rebuild --drop`. Broken off, it has applied whole days; repeated, it begins anew. Exit code 3 where a day was left as
/// it is, or where the rebuilt tables are not what the log says: then nothing is applied.
#[derive(Args)]
pub struct Rebuild {
    /// Which log to read
    #[arg(long, default_value = "stream", conflicts_with = "drop")]
    from: LogChoice,
    /// Fold and verify, and apply nothing
    #[arg(long, conflicts_with = "drop")]
    dry_run: bool,
    /// Ad accounts folded at once; memory follows it
    #[arg(long, value_name = "N", default_value_t = WORKERS, value_parser = clap::value_parser!(u64).range(1..=32), conflicts_with = "drop")]
    workers: u64,
    /// Drop what rebuilds have left: the schemas `rebuild` and `rebuild_undo`
    #[arg(long)]
    drop: bool,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "drop")]
    json: bool,
}

/// What a rebuild came to, so far.
struct Told {
    json: bool,
    names: Names,
    /// It could read both logs.
    both: bool,
    not_folded: AllNotFolded,
    document: Value,
}

impl Rebuild {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        if self.drop {
            let (pool, _servers) = boot.tables().await?;
            let dropped = projector::rebuild::drop_schemas(&pool).await.context("the schemas cannot be dropped")?;
            output::line(if dropped {
                "The schemas rebuild and rebuild_undo are gone."
            } else {
                "There is nothing to drop: no rebuild has left anything."
            })?;
            return Ok(Outcome::Done);
        }
        with_log(boot, self.from, async |pool, logs| {
            let left = "what was applied is whole, and the next rebuild begins anew";
            shutdown::unless_signalled(left, self.rebuild(pool, logs)).await
        })
        .await
    }

    async fn rebuild(&self, pool: &PgPool, logs: Logs) -> Result<Outcome> {
        let document = json!({ "dry_run": self.dry_run });
        let mut told = Told {
            json: self.json,
            names: Names::load(pool).await?,
            both: logs.other.is_some(),
            not_folded: AllNotFolded::default(),
            document,
        };
        let verifier = Verifier {
            pool: pool.clone(),
            logs: logs.clone(),
            tables: Tables::Rebuild,
            // What is in the log now is folded beside; what comes later, live traffic folds first.
            end: Some(logs.first.end(&Range::everything()).await?),
            max_event_bytes: projector::MAX_EVENT_BYTES,
            patience: PATIENCE,
        };
        let everything = projector::rebuild::Rebuild {
            pool: pool.clone(),
            logs,
            workers: usize::try_from(self.workers)?,
            rows_a_transaction: ROWS_A_TRANSACTION,
            max_event_bytes: projector::MAX_EVENT_BYTES,
        };
        let progress = RefCell::new(Progress::new("days folded beside"));
        let mut rebuilt = everything
            .load(|loaded| {
                let rows = format!("{} rows", loaded.rows);
                progress.borrow_mut().at(loaded.days as u64, loaded.days_total as u64, &rows);
            })
            .await?;
        drop(progress);
        let caught_up = rebuilt.catch_up().await?;
        told.loaded(&rebuilt.loaded, caught_up, &rebuilt.left())?;
        let outcome = if !told.is_what_the_log_says(&verifier, &mut rebuilt).await? {
            Outcome::Findings
        } else if self.dry_run {
            let (days, summaries) = rebuilt.differing().await?;
            told.would_apply(&days, &summaries, &rebuilt.left())?
        } else {
            let progress = RefCell::new(Progress::new("days applied"));
            let applied = rebuilt
                .apply(|applied| progress.borrow_mut().at(applied.days as u64, applied.days_total as u64, ""))
                .await?;
            drop(progress);
            told.applied(&applied)?
        };
        rebuilt.close().await;
        if self.json {
            output::json(&told.document)?;
        }
        Ok(outcome)
    }
}

impl Told {
    fn line(&self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { output::line(text) }
    }

    fn loaded(&mut self, loaded: &Loaded, caught_up: usize, left: &BTreeMap<AccountDay, Uuid>) -> Result<()> {
        findings::say_not_folded(&loaded.not_folded, &left.values().copied().collect(), &self.names);
        self.not_folded = loaded.not_folded.clone();
        self.document["folded"] = json!({
            "account_days": loaded.days_total, "events": loaded.events, "rows": loaded.rows, "caught_up": caught_up,
        });
        self.document["unfoldable"] = findings::not_folded_json(&loaded.not_folded);
        self.line(&format!(
            "Folded {} account-days into the schema rebuild: {} events, {} rows; {caught_up} caught up with live traffic.",
            loaded.days_total, loaded.events, loaded.rows
        ))
    }

    /// Whether the second implementation finds the rebuilt tables right; it is asked again while live traffic comes in
    /// between.
    async fn is_what_the_log_says(&mut self, verifier: &Verifier, rebuilt: &mut Rebuilt) -> Result<bool> {
        for round in 1..=VERIFIED_AT_MOST {
            let (report, differing) = differing(verifier, &self.names).await?;
            self.document["verified"] = json!({
                "account_days": report.account_days, "rows": report.rows, "differing": differing,
            });
            if differing.is_empty() {
                self.line(&format!(
                    "Verified by the second implementation: {} account-days, {} rows, none differ.",
                    report.account_days, report.rows
                ))?;
                return Ok(true);
            }
            // What live traffic has folded since is no mistake of the rebuild's.
            if rebuilt.catch_up().await? == 0 || round == VERIFIED_AT_MOST {
                for sentence in &differing {
                    self.line(&output::printable(sentence))?;
                }
                break;
            }
        }
        self.line("The rebuilt tables are not what the log says: nothing was applied.")?;
        Ok(false)
    }

    fn would_apply(
        &mut self,
        days: &[AccountDay],
        summaries: &[SummaryKey],
        left: &BTreeMap<AccountDay, Uuid>,
    ) -> Result<Outcome> {
        let days: Vec<AccountDay> = days.iter().filter(|day| !left.contains_key(day)).copied().collect();
        let with_left: HashSet<SummaryKey> = left.keys().map(|day| (day.account_id, day.date)).collect();
        let summaries: Vec<SummaryKey> = summaries.iter().filter(|key| !with_left.contains(key)).copied().collect();
        for day in &days {
            self.line(&format!("{} differs", self.names.day(day)))?;
        }
        for (account_id, date) in &summaries {
            self.line(&format!("{date} of tenant {} differs in its summary alone", self.names.tenant(*account_id)))?;
        }
        self.document["differing_days"] = days.iter().map(findings::day_json).collect();
        self.document["differing_summaries"] =
            summaries.iter().map(|(account_id, date)| json!({ "account_id": account_id, "date": date })).collect();
        self.line(&format!(
            "{} account-days differ, and {} summaries without them; nothing was applied.",
            days.len(),
            summaries.len()
        ))?;
        let left: Vec<_> = left.iter().map(|(day, event_id)| (*day, *event_id)).collect();
        self.left(&left, "would be left");
        Ok(if left.is_empty() { Outcome::Done } else { Outcome::Findings })
    }

    /// Says which days stay as they are, and why.
    fn left(&mut self, left: &[(AccountDay, Uuid)], verb: &str) {
        for (day, event_id) in left {
            let why = findings::why_left(*event_id, &self.not_folded, self.both);
            eprintln!("{} {verb} as it is: event {event_id} was folded once, and {why}", self.names.day(day));
        }
        self.document["left"] = findings::left_json(left);
    }

    fn applied(&mut self, applied: &Applied) -> Result<Outcome> {
        self.document["applied"] = json!({
            "days": applied.changed.len(), "rows_written": applied.written, "rows_replaced": applied.replaced,
            "summaries_replaced": applied.summaries,
            "first_days": applied.changed.iter().take(SHOWN).map(findings::day_json).collect::<Vec<_>>(),
        });
        self.document["busy"] = applied.busy.iter().map(findings::day_json).collect();
        self.line(&format!(
            "{} account-days differed: {} rows written; {} rows and {} summaries replaced, which rebuild_undo keeps.",
            applied.changed.len(),
            applied.written,
            applied.replaced,
            applied.summaries
        ))?;
        for day in applied.changed.iter().take(SHOWN) {
            self.line(&format!("  {}", self.names.day(day)))?;
        }
        if applied.changed.len() > SHOWN {
            self.line(&format!("  and {} more", applied.changed.len() - SHOWN))?;
        }
        self.left(&applied.left, "was left");
        for day in &applied.busy {
            eprintln!(
                "{} was left as it is: it was changed again and again meanwhile; repeat the command",
                self.names.day(day)
            );
        }
        Ok(if applied.left.is_empty() && applied.busy.is_empty() { Outcome::Done } else { Outcome::Findings })
    }
}

/// What the second implementation says of the rebuilt tables: the first of what differs, in words.
async fn differing(verifier: &Verifier, names: &Names) -> Result<(Report, Vec<String>)> {
    let progress = RefCell::new(Progress::new("account-days verified"));
    let mut sentences = Vec::new();
    let take = |finding| match finding {
        Finding::Differs(difference) => {
            let of = named(&difference, names);
            sentences.extend(difference.sentences.iter().map(|sentence| format!("{of}: {sentence}")).take(SHOWN));
        }
        Finding::Refused(_) => {}
    };
    let show = |report: &Report| progress.borrow_mut().at(report.account_days, report.account_days_total, "");
    let report = verifier.run(&Range::everything(), take, show).await.context("verifying broke off")?;
    sentences.truncate(SHOWN);
    Ok((report, sentences))
}
