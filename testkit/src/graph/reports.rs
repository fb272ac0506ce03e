//! Asynchronous reports: asked for once, made while it is looked at, and then read in pages.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::ask::Ask;
use super::recorded::Recorded;
use super::refusal::Refusal;
use super::world::World;

/// How reports come about, and those that were asked for.
#[derive(Debug, Clone)]
pub struct Reports {
    /// How many times a report that is asked about is not finished yet; the answer after these says `Job Completed`.
    pub polls: u32,
    /// What becomes of the next reports, in the order in which they are asked for; of the others, whatever
    /// [`Faults`](super::Faults) brings.
    pub fates: VecDeque<ReportFate>,
    /// By `report_run_id`.
    pub(super) started: BTreeMap<String, Report>,
}

/// What becomes of a report.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ReportFate {
    #[default]
    Good,
    /// `Job Failed`, with the fields that say why.
    Failed,
    /// `Job Skipped`.
    Skipped,
    /// `Job Running` for ever, and the percentage does not move.
    Stuck,
    /// `Job Completed`, but whoever wants the rows is told that there is no such report (100, subcode 33).
    Expired,
    /// Says `Job Completed` once with less than 100 percent. Whoever reads it then gets half of the rows, and no hint.
    EarlyCompleted,
    /// The first question for the rows after `Job Completed` is refused with this code (2601 or 2637) and subcode 1815107.
    NotReady(i64),
}

/// A report that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) external_id: String,
    pub(super) ask: Ask,
    fate: ReportFate,
    polls: u32,
    /// How often somebody has asked how far it is, and for its rows.
    polled: u32,
    read: u32,
    time_ref: i64,
}

/// Numbers of 17 digits, the first one after this: neighbours are one number as a float.
const IDS_ABOVE: u64 = 60_239_201_490_500_000;

impl Default for Reports {
    fn default() -> Self {
        Reports { polls: 2, fates: VecDeque::new(), started: BTreeMap::new() }
    }
}

impl Reports {
    /// So many of the next reports have this fate, after those that were destined before.
    pub fn destine(&mut self, fate: ReportFate, times: usize) {
        self.fates.extend(std::iter::repeat_n(fate, times));
    }

    pub(super) fn get(&self, id: &str) -> Result<&Report, Refusal> {
        self.started.get(id).ok_or_else(|| Refusal::unknown_object(id))
    }

    fn get_mut(&mut self, id: &str) -> Result<&mut Report, Refusal> {
        self.started.get_mut(id).ok_or_else(|| Refusal::unknown_object(id))
    }

    /// Begins one; what becomes of it by chance counts when it is not destined.
    pub(super) fn start(&mut self, external_id: &str, ask: Ask, by_chance: ReportFate, time_ref: i64) -> String {
        let fate = self.fates.pop_front().unwrap_or(by_chance);
        let polls = self.polls;
        let external_id = external_id.to_owned();
        let id = (IDS_ABOVE + 1 + self.started.len() as u64).to_string();
        self.started.insert(id.clone(), Report { external_id, ask, fate, polls, polled: 0, read: 0, time_ref });
        json!({"report_run_id": id}).to_string()
    }
}

/// How far a report is: one look at it is one step.
pub(super) fn status(world: &mut World, question: &Recorded) -> Result<String, Refusal> {
    let id = question.external_id();
    let report = world.reports.get_mut(id)?;
    report.polled += 1;
    let all = report.fields(id);
    let fields = question.parameter("fields").filter(|fields| !fields.is_empty());
    let Some(fields) = fields else { return Ok(Value::Object(all).to_string()) };
    let mut told = serde_json::Map::new();
    for field in ["id"].into_iter().chain(fields.split(',')) {
        match all.get(field) {
            Some(value) => drop(told.insert(field.into(), value.clone())),
            // Left out while there is nothing to say.
            None if OF_FAILURE.contains(&field) || field == "time_completed" => {}
            None => {
                let message = format!("Tried accessing nonexisting field ({field}) on node type (AdReportRun)");
                return Err(Refusal::parameter(&message));
            }
        }
    }
    Ok(Value::Object(told).to_string())
}

const OF_FAILURE: [&str; 4] = ["error_code", "error_message", "error_subcode", "error_user_msg"];

/// How much of a report can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    All,
    Half,
}

/// Whether the rows of a report can be read now. The question itself may be what makes them readable.
pub(super) fn read(reports: &mut Reports, id: &str) -> Result<Readable, Refusal> {
    let report = reports.get_mut(id)?;
    let not_ready = |code: i64| {
        let message = format!("(#{code}) Error accessing the ad report job: its results are not loaded yet");
        Err(Refusal::new(400, code, Some(1_815_107), message))
    };
    let is_completed = report.polled > report.polls;
    let is_first = report.read == 0;
    match report.fate {
        ReportFate::Failed | ReportFate::Skipped if is_completed => {
            Err(Refusal::new(400, 2601, None, "(#2601) Error accessing the ad report job: it has no results"))
        }
        ReportFate::Stuck => not_ready(2601),
        _ if !is_completed => not_ready(2601),
        ReportFate::Expired => Err(Refusal::unknown_object(id)),
        ReportFate::NotReady(code) if is_first => {
            report.read += 1;
            not_ready(code)
        }
        ReportFate::EarlyCompleted if report.polled == report.polls + 1 => Ok(Readable::Half),
        _ => {
            report.read += 1;
            Ok(Readable::All)
        }
    }
}

impl Report {
    /// The looks at it that were needed to see it finished.
    pub(super) fn looks_needed(&self) -> u32 {
        self.polls + 1 + u32::from(self.fate == ReportFate::EarlyCompleted)
    }

    /// After so many looks: what it says of itself, and the percentage.
    fn state(&self) -> (&'static str, u32) {
        // Not started, started, running for the rest; a short one leaves steps out.
        match (self.polled, self.fate) {
            (0 | 1, _) if self.polls > 0 => ("Job Not Started", 0),
            (2, _) if self.polls > 2 => ("Job Started", 0),
            (_, ReportFate::Stuck) => ("Job Running", 37),
            (polled, _) if polled <= self.polls => ("Job Running", (polled - 1) * 100 / self.polls),
            (_, ReportFate::Failed) => ("Job Failed", 66),
            (_, ReportFate::Skipped) => ("Job Skipped", 0),
            (polled, ReportFate::EarlyCompleted) if polled == self.polls + 1 => ("Job Completed", 85),
            _ => ("Job Completed", 100),
        }
    }

    fn fields(&self, id: &str) -> serde_json::Map<String, Value> {
        let (status, percent) = self.state();
        let mut fields = json!({
            "id": id,
            "account_id": self.external_id.trim_start_matches("act_"),
            "time_ref": self.time_ref,
            "date_start": self.ask.since,
            "date_stop": self.ask.until,
            "is_running": matches!(status, "Job Started" | "Job Running"),
            "async_status": status,
            "async_percent_completion": percent,
        });
        if status == "Job Completed" {
            fields["time_completed"] = (self.time_ref + i64::from(self.polled)).into();
        }
        if status == "Job Failed" {
            fields["error_code"] = 2.into();
            fields["error_message"] = "Service temporarily unavailable".into();
            fields["error_subcode"] = 1_504_044.into();
            fields["error_user_msg"] = "The report could not be made. Please try again later.".into();
        }
        match fields {
            Value::Object(fields) => fields,
            _ => serde_json::Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::asking::{self, ACCOUNT, Answer};
    use super::super::{Endpoint, Failure, Graph};
    use super::*;

    async fn start(graph: &Graph) -> String {
        let answer = graph.post(&format!("{ACCOUNT}/insights"), &asking::ads(3, 25)).await;
        answer.json()["report_run_id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// Status and percentage of each look.
    async fn looks(graph: &Graph, id: &str, looks: usize) -> Vec<(String, i64)> {
        let fields = [("fields", "id,account_id,time_ref,async_status,async_percent_completion".to_owned())];
        let mut told = Vec::new();
        for _ in 0..looks {
            let answer = graph.get(id, &fields).await.json();
            assert_eq!((&answer["id"], &answer["account_id"]), (&id.into(), &"1001".into()), "{answer}");
            let percent = answer["async_percent_completion"].as_i64().unwrap();
            told.push((answer["async_status"].as_str().unwrap().to_owned(), percent));
        }
        told
    }

    async fn rows(graph: &Graph, id: &str) -> Answer {
        graph.get(&format!("{id}/insights"), &[("limit", "1000".into())]).await
    }

    #[tokio::test]
    async fn a_report_is_started_looked_at_and_read_and_has_the_rows_of_the_same_question() {
        for (polls, wanted) in [
            (0, vec![("Job Completed", 100), ("Job Completed", 100)]),
            (1, vec![("Job Not Started", 0), ("Job Completed", 100)]),
            (2, vec![("Job Not Started", 0), ("Job Running", 50), ("Job Completed", 100)]),
            (3, vec![("Job Not Started", 0), ("Job Started", 0), ("Job Running", 66), ("Job Completed", 100)]),
        ] {
            let graph = asking::graph(30, 3, |world| world.reports.polls = polls).await;
            let id = start(&graph).await;
            let told = looks(&graph, &id, wanted.len()).await;
            let told: Vec<(&str, i64)> = told.iter().map(|(status, percent)| (status.as_str(), *percent)).collect();
            assert_eq!(told, wanted, "{polls} polls");
            let path = format!("{id}/insights");
            let wanted = graph.all_rows(&format!("{ACCOUNT}/insights"), &asking::ads(3, 1000)).await;
            assert_eq!(graph.all_rows(&path, &[("limit", "7".into())]).await, wanted);
            let kinds: Vec<Endpoint> = graph.requests().iter().map(|question| question.endpoint()).collect();
            assert_eq!((kinds[0], kinds[1], kinds[kinds.len() - 1]), {
                (Endpoint::ReportStart, Endpoint::ReportStatus, Endpoint::ReportRows)
            });
        }
    }

    #[tokio::test]
    async fn a_report_that_is_not_finished_or_not_there_cannot_be_read() {
        let graph = asking::graph(5, 3, |_| ()).await;
        let id = start(&graph).await;
        assert_eq!(rows(&graph, &id).await.error(), (400, 2601, Some(1_815_107)));
        looks(&graph, &id, 2).await;
        assert_eq!(rows(&graph, &id).await.error(), (400, 2601, Some(1_815_107)));
        looks(&graph, &id, 1).await;
        assert_eq!(rows(&graph, &id).await.status, 200);
        for path in ["123", "123/insights"] {
            assert_eq!(graph.get(path, &[]).await.error(), (400, 100, Some(33)), "{path}");
        }
        let unknown_field = graph.get(&id, &[("fields", "async_status,colour".into())]).await;
        assert_eq!(unknown_field.error(), (400, 100, None));
        graph.edit(|world| world.token(asking::TOKEN).ad_accounts.clear());
        assert_eq!(graph.get(&id, &[]).await.error(), (403, 200, None));
    }

    #[tokio::test]
    async fn fates_come_in_their_order_and_then_all_is_well() {
        let graph = asking::graph(30, 3, |world| {
            world.reports.polls = 1;
            for fate in [ReportFate::Failed, ReportFate::Skipped, ReportFate::Stuck, ReportFate::Expired] {
                world.reports.destine(fate, 1);
            }
            world.reports.destine(ReportFate::NotReady(2637), 1);
            world.reports.destine(ReportFate::EarlyCompleted, 1);
        })
        .await;
        let wanted = graph.get(&format!("{ACCOUNT}/insights"), &asking::ads(3, 1000)).await.rows();

        let failed = start(&graph).await;
        assert_eq!(looks(&graph, &failed, 2).await[1], ("Job Failed".into(), 66));
        let fields = "async_status,error_code,error_message,error_subcode,error_user_msg";
        let told = graph.get(&failed, &[("fields", fields.into())]).await.json();
        assert_eq!((&told["error_code"], &told["error_subcode"]), (&2.into(), &1_504_044.into()));
        assert!(told["error_message"].is_string() && told["error_user_msg"].is_string(), "{told}");
        assert_eq!(rows(&graph, &failed).await.error(), (400, 2601, None));

        let skipped = start(&graph).await;
        assert_eq!(looks(&graph, &skipped, 2).await[1], ("Job Skipped".into(), 0));

        let stuck = start(&graph).await;
        assert_eq!(looks(&graph, &stuck, 9).await[8], ("Job Running".into(), 37));

        let expired = start(&graph).await;
        assert_eq!(looks(&graph, &expired, 2).await[1], ("Job Completed".into(), 100));
        assert_eq!(rows(&graph, &expired).await.error(), (400, 100, Some(33)));
        assert_eq!(rows(&graph, &expired).await.error(), (400, 100, Some(33)));

        let not_ready = start(&graph).await;
        assert_eq!(looks(&graph, &not_ready, 2).await[1], ("Job Completed".into(), 100));
        assert_eq!(rows(&graph, &not_ready).await.error(), (400, 2637, Some(1_815_107)));
        assert_eq!(rows(&graph, &not_ready).await.rows(), wanted);

        let early = start(&graph).await;
        assert_eq!(looks(&graph, &early, 2).await[1], ("Job Completed".into(), 85));
        assert_eq!(rows(&graph, &early).await.rows().len(), wanted.len() / 2);
        assert_eq!(looks(&graph, &early, 1).await[0], ("Job Completed".into(), 100));
        assert_eq!(rows(&graph, &early).await.rows(), wanted);

        let good = start(&graph).await;
        assert_eq!(looks(&graph, &good, 2).await[1], ("Job Completed".into(), 100));
        assert_eq!(rows(&graph, &good).await.rows(), wanted);
    }

    #[tokio::test]
    async fn a_failure_finds_the_report_by_its_ad_account_and_its_days() {
        let graph = asking::graph(5, 3, |world| world.reports.polls = 0).await;
        let id = start(&graph).await;
        let day = asking::first_day();
        for (about, date, strikes) in
            [(ACCOUNT, day, true), ("act_2", day, false), (ACCOUNT, day - chrono::Days::new(1), false)]
        {
            graph.fail(Failure::account_throttle(1).on(Endpoint::ReportStatus).about(about).on_date(date));
            assert_eq!(graph.get(&id, &[]).await.status == 400, strikes, "{about} {date}");
            graph.heal();
        }
    }
}
