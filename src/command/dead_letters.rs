mod show;

use std::path::PathBuf;

use anyhow::Result;
use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Subcommand};
use jetstream::{DeadLetters as Letters, Letter, LetterError, Which};
use serde::Serialize;
use uuid::Uuid;

use crate::boot::Boot;
use crate::exit::{self, Outcome};
use crate::output::{self, or_dash};

/// Look at parked messages; publish them again, or drop them
///
/// A message that a consumer cannot use is parked: copied to the stream DEAD_LETTERS with the reason, so that the rest
/// goes on. A letter is that copy. The message itself stays in its stream, and in meta_insights_raw where it had
/// arrived.
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the letters, oldest first
    List {
        #[command(flatten)]
        of: Of,
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show all of one letter: the reason, the place, the headers, the payload
    Show {
        /// The letter's id, from `dead-letters list`
        id: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Write the message's exact bytes to this file (- is standard output), and nothing else
        #[arg(long, value_name = "FILE", conflicts_with = "json")]
        payload: Option<PathBuf>,
    },
    /// Publish messages again, to their stream, and delete their letters
    ///
    /// Every consumer of the stream gets them; one that has handled a message already knows it. What still cannot be
    /// used is parked again, as a new letter: mend the cause first.
    Retry(Chosen),
    /// Delete letters
    ///
    /// Only the letters: the messages stay in their stream, and in meta_insights_raw where they had arrived. (META_SYNC
    /// keeps no bell that was parked; the run that it rang for is in PostgreSQL, and is rung for again.)
    Drop(Chosen),
}

/// Which letters; all where nothing is said.
#[derive(Args, Clone)]
struct Of {
    /// Only messages of this stream
    #[arg(long, value_name = "STREAM", value_parser = token)]
    stream: Option<String>,
    /// Only messages that this consumer could not use
    #[arg(long, value_name = "NAME", value_parser = token)]
    consumer: Option<String>,
    /// Only messages of this tenant
    #[arg(long, value_name = "ID")]
    account: Option<Uuid>,
}

#[derive(Args)]
#[command(group(ArgGroup::new("chosen").args(["ids", "all"]).required(true)))]
struct Chosen {
    /// The letters' ids, from `dead-letters list`
    #[arg(value_name = "ID", conflicts_with_all = ["stream", "consumer", "account"])]
    ids: Vec<u64>,
    /// All letters there are now; or those of a stream, a consumer, a tenant
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    of: Of,
}

/// A name as it stands in a subject.
fn token(text: &str) -> Result<String, &'static str> {
    let is_token =
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>".contains(c));
    if is_token { Ok(text.to_owned()) } else { Err("a name has no spaces, dots, * or >") }
}

impl Of {
    fn which(self) -> Which {
        Which { stream: self.stream, consumer: self.consumer, account_id: self.account }
    }
}

/// A letter as programs read it, without its message.
#[derive(Serialize)]
struct Entry {
    id: u64,
    parked_at: DateTime<Utc>,
    stream: String,
    consumer: String,
    reason: Option<String>,
    subject: Option<String>,
    sequence: Option<u64>,
    stored_at: Option<DateTime<Utc>>,
    account_id: Option<Uuid>,
    bytes: Option<usize>,
    /// Whether the letter holds the message, or only its place.
    is_whole: bool,
}

impl From<&Letter> for Entry {
    fn from(letter: &Letter) -> Self {
        let origin = letter.origin.as_ref();
        Entry {
            id: letter.id,
            parked_at: letter.parked_at,
            stream: letter.stream.clone(),
            consumer: letter.consumer.clone(),
            reason: letter.reason.clone(),
            subject: origin.map(|origin| origin.subject.clone()),
            sequence: origin.map(|origin| origin.sequence),
            stored_at: origin.map(|origin| origin.stored_at),
            account_id: letter.account_id(),
            bytes: letter.bytes,
            is_whole: letter.is_whole,
        }
    }
}

impl DeadLetters {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (wire, _servers) = boot.nats().await?;
        let letters = wire.dead_letters().await?;
        match self.action {
            Action::List { of, limit, json } => list(&letters, &of.which(), limit, json).await?,
            Action::Show { id, json, payload } => show::show(&letters, id, json, payload.as_deref()).await?,
            Action::Retry(chosen) => each(&letters, chosen, retry).await?,
            Action::Drop(chosen) => each(&letters, chosen, discard).await?,
        }
        Ok(Outcome::Done)
    }
}

async fn list(letters: &Letters, which: &Which, limit: u32, json: bool) -> Result<()> {
    let mut found = Vec::new();
    let mut reading = letters.read(which, 1);
    while found.len() < limit as usize {
        let Some(letter) = reading.next().await? else { break };
        found.push(Entry::from(&letter));
    }
    // Asked afterwards: what is parked meanwhile is among those that are left.
    let more = letters.count(which).await?.saturating_sub(found.len() as u64);
    if json {
        return output::json(&serde_json::json!({ "letters": found, "more": more }));
    }
    if found.is_empty() {
        let is_narrowed = which.stream.is_some() || which.consumer.is_some() || which.account_id.is_some();
        return output::line(if is_narrowed { "No such message is parked." } else { "No message is parked." });
    }
    let mut table = output::table(&["id", "parked", "stream", "consumer", "subject", "reason"]);
    output::right(&mut table, [0]);
    for letter in &found {
        table.add_row([
            letter.id.to_string(),
            output::time(letter.parked_at),
            output::printable(&letter.stream),
            output::printable(&letter.consumer),
            or_dash(letter.subject.as_ref().map(|subject| output::shortened(subject, 120))),
            or_dash(letter.reason.as_ref().map(|reason| output::shortened(reason, 120))),
        ]);
    }
    output::line(&table.to_string())?;
    if more > 0 {
        output::line(&format!("{more} more: --limit shows them, --stream, --consumer and --account narrow the list."))?;
    }
    output::line("`adledger dead-letters show ID` shows all of one.")
}

/// What a command does to one letter; it answers what it has done.
async fn retry(letters: &Letters, letter: &Letter) -> Result<String, LetterError> {
    let published = letters.retry(letter).await?;
    let how = if published.duplicate { "had been published again already" } else { "was published again" };
    Ok(format!(
        "Letter {}: its message {how}, as message {} of {}; if the cause is not mended, it is parked anew.",
        letter.id, published.sequence, letter.stream
    ))
}

async fn discard(letters: &Letters, letter: &Letter) -> Result<String, LetterError> {
    letters.discard(letter).await?;
    Ok(match &letter.origin {
        Some(origin) => format!(
            "Letter {} was dropped; its message was message {} of {}, stored {}.",
            letter.id, origin.sequence, letter.stream, origin.stored_at
        ),
        None => format!("Letter {} was dropped.", letter.id),
    })
}

/// Goes through the chosen letters and says of each what became of it. One that fails stops nothing, unless the servers
/// are the reason; but it is a failure in the end.
async fn each(
    letters: &Letters,
    chosen: Chosen,
    act: impl AsyncFn(&Letters, &Letter) -> Result<String, LetterError>,
) -> Result<()> {
    let mut failures = Failures::default();
    if chosen.all {
        // Up to the newest there is now: what is parked again meanwhile would make this endless.
        let last = letters.last_id().await?;
        let mut reading = letters.read(&chosen.of.which(), 1);
        let mut count = 0;
        while let Some(letter) = reading.next().await?.filter(|letter| letter.id <= last) {
            count += 1;
            failures.note(act(letters, &letter).await)?;
        }
        if count == 0 {
            output::line("No such message is parked.")?;
        }
    }
    let ids: std::collections::BTreeSet<u64> = chosen.ids.into_iter().collect();
    for id in ids {
        match letters.letter(id).await? {
            Some(letter) => failures.note(act(letters, &letter).await)?,
            None => failures.add(no_letter(id)),
        }
    }
    failures.last.map_or(Ok(()), Err)
}

fn no_letter(id: u64) -> anyhow::Error {
    anyhow::anyhow!("there is no letter {id}: `adledger dead-letters list` shows those there are")
}

/// Failures are said as they come, all but the last: that one ends the command, which says it.
#[derive(Default)]
struct Failures {
    last: Option<anyhow::Error>,
}

impl Failures {
    fn add(&mut self, error: anyhow::Error) {
        if let Some(before) = self.last.replace(error) {
            eprintln!("adledger: {}", exit::sentence(&before));
        }
    }

    fn note(&mut self, outcome: Result<String, LetterError>) -> Result<()> {
        match outcome {
            Ok(done) => output::line(&output::printable(&done)),
            Err(error) if error.is_of_the_servers() => {
                if let Some(before) = self.last.take() {
                    eprintln!("adledger: {}", exit::sentence(&before));
                }
                Err(error.into())
            }
            Err(error) => {
                self.add(error.into());
                Ok(())
            }
        }
    }
}
