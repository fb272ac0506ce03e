//! Every verb of the server's, for each stream and consumer of the topology files, and which roles need it. A stream or
//! a consumer that is new has no row here, and the test says so.

use anyhow::{Context, Result};
use jetstream::topology::{Durable, durables};
use jetstream::{META_INSIGHTS, OBJ_META_PAYLOADS, WAREHOUSE};

/// Roles of services, each with a file of its own.
pub const SERVICES: [&str; 7] = ["fetch", "raw", "project", "fill", "relay", "schedule", "web"];
/// Who plays all of them.
pub const ALL: &str = "all";
/// Who speaks through commands.
pub const OPERATOR: &str = "operator";

/// Who publishes events to a stream. Letters are parked, each consumer's under its own name.
fn publishers(stream: &str) -> &'static [&'static str] {
    match stream {
        "META_INSIGHTS" | OBJ_META_PAYLOADS => &["fetch", OPERATOR],
        "META_CONNECT" | "META_SYNC" => &["relay", OPERATOR],
        // Nobody of ours hears it, so nobody parks what it holds and has it published again.
        WAREHOUSE => &["relay"],
        "DEAD_LETTERS" => &[],
        new => panic!("stream {new}: say here who publishes to it, and in nats/topology/permissions"),
    }
}

/// Who pulls a consumer's messages, and whether it parks those that it cannot use.
fn pullers(durable: &Durable) -> (&'static [&'static str], bool) {
    match (durable.stream.as_str(), durable.name.as_str()) {
        ("META_INSIGHTS", "raw") => (&["raw", OPERATOR], true),
        ("META_INSIGHTS", "projector") => (&["project", OPERATOR], true),
        ("META_CONNECT", "initial-fill") => (&["fill"], true),
        ("META_SYNC", "fetch") => (&["fetch"], false),
        new => panic!("consumer {new:?}: say here who pulls it, and in nats/topology/permissions"),
    }
}

/// The role of a service that pulls this consumer.
pub fn puller(durable: &Durable) -> (&'static str, bool) {
    let (roles, parks) = pullers(durable);
    (roles[0], parks)
}

/// What a verb is for.
#[derive(Debug, Clone)]
enum For {
    Publishing {
        stream: String,
    },
    Pulling(Durable),
    Parking(Durable),
    /// The check that every process makes when it starts.
    Checking,
    /// How much of the account's storage is taken.
    Storage,
    /// How long the oldest message of a stream has waited for its consumers.
    Lag,
    /// Replay, audit, and what is parked.
    Reading,
    /// Payloads that fitted into no message; whoever puts one looks first.
    Loading,
    MakingTopology,
    Trimming,
    DroppingLetters,
    /// The answers to this role's requests.
    Hearing {
        role: String,
    },
    Nothing,
}

/// Something that can be said to the server.
#[derive(Debug, Clone)]
pub struct Verb {
    pub subject: String,
    /// Hear it instead of saying it, in this queue if there is one.
    pub hears: Option<Option<&'static str>>,
    pub payload: &'static str,
    is_for: For,
}

impl Verb {
    fn says(subject: impl Into<String>, is_for: For) -> Verb {
        Verb { subject: subject.into(), hears: None, payload: "", is_for }
    }

    pub fn is_needed_by(&self, role: &str) -> bool {
        if role == ALL && !matches!(self.is_for, For::Hearing { .. }) {
            return SERVICES.iter().any(|service| self.is_needed_by(service));
        }
        match &self.is_for {
            For::Publishing { stream } => publishers(stream).contains(&role),
            For::Pulling(durable) => pullers(durable).0.contains(&role),
            For::Parking(durable) => pullers(durable).1 && pullers(durable).0.contains(&role),
            For::Checking => true,
            For::Storage => ["fetch", "web", OPERATOR].contains(&role),
            For::Lag => ["web", OPERATOR].contains(&role),
            For::Loading => ["fetch", "raw", "project", OPERATOR].contains(&role),
            For::Reading | For::MakingTopology | For::Trimming | For::DroppingLetters => role == OPERATOR,
            For::Hearing { role: of } => of == role,
            For::Nothing => false,
        }
    }

    /// Whether the server answers it.
    pub fn has_answer(&self) -> bool {
        self.hears.is_none() && !self.subject.starts_with("$JS.ACK.")
    }
}

/// The streams of the topology file, each with its subjects.
fn streams() -> Result<Vec<(String, Vec<String>)>> {
    let file: toml::Table = include_str!("../../../../topology/streams.toml").parse()?;
    let streams = file["stream"].as_array().context("a list of streams")?;
    let text = |value: &toml::Value| value.as_str().map(str::to_owned).context("a text");
    let named = streams.iter().map(|stream| {
        let subjects = stream["subjects"].as_array().context("a list of subjects")?;
        Ok((text(&stream["name"])?, subjects.iter().map(text).collect::<Result<_>>()?))
    });
    named.collect()
}

/// All of them.
pub fn verbs() -> Result<Vec<Verb>> {
    let mut verbs = vec![Verb::says("$JS.API.INFO", For::Storage)];
    let durables = durables()?;
    for (stream, subjects) in &streams()? {
        of_stream(stream, subjects, durables.iter().any(|durable| durable.stream == *stream), &mut verbs);
    }
    for durable in &durables {
        of_durable(durable, &mut verbs);
        for other in durables.iter().filter(|other| *other != durable) {
            // Answers to one consumer's messages, in either form, that look like the other form of another consumer's.
            let own = format!("{}.{}", durable.stream, durable.name);
            let of_other = format!("{}.{}", other.stream, other.name);
            for subject in [format!("$JS.ACK.{own}.{of_other}.1.1.0"), format!("$JS.ACK.{of_other}.{own}.1.1.1.1.0.x")]
            {
                verbs.push(Verb { payload: "+NXT", ..Verb::says(subject, For::Pulling(durable.clone())) });
            }
        }
    }
    elsewhere(&mut verbs);
    Ok(verbs)
}

fn of_stream(stream: &str, subjects: &[String], has_consumers: bool, verbs: &mut Vec<Verb>) {
    let publishing = || For::Publishing { stream: stream.to_owned() };
    for filter in subjects {
        let subject = filter.replace('*', "x").replace('>', "x.y");
        verbs.push(Verb::says(&subject, publishing()));
        verbs.push(Verb::says(
            format!("{subject}.more"),
            if filter.ends_with('>') { publishing() } else { For::Nothing },
        ));
        let is_description = stream == OBJ_META_PAYLOADS && subject.contains(".M.");
        let reading = if is_description { For::Loading } else { For::Nothing };
        verbs.push(Verb::says(format!("$JS.API.DIRECT.GET.{stream}.{subject}"), reading));
        for queue in [None, Some("queue")] {
            verbs.push(Verb { hears: Some(queue), ..Verb::says(filter, For::Nothing) });
            verbs.push(Verb { hears: Some(queue), ..Verb::says(&subject, For::Nothing) });
        }
    }
    let reading = match stream {
        OBJ_META_PAYLOADS => For::Loading,
        WAREHOUSE => For::Nothing,
        _ => For::Reading,
    };
    verbs.push(Verb::says(format!("$JS.API.DIRECT.GET.{stream}"), reading));
    let is_letters = stream == jetstream::DEAD_LETTERS;
    for (verb, is_for) in [
        ("INFO", For::Checking),
        ("CREATE", For::MakingTopology),
        ("UPDATE", For::MakingTopology),
        ("DELETE", For::Nothing),
        ("PURGE", if [META_INSIGHTS, OBJ_META_PAYLOADS].contains(&stream) { For::Trimming } else { For::Nothing }),
        ("MSG.GET", if has_consumers { For::Lag } else { For::Nothing }),
        ("MSG.DELETE", if is_letters { For::DroppingLetters } else { For::Nothing }),
        ("SNAPSHOT", For::Nothing),
        ("RESTORE", For::Nothing),
        ("PEER.REMOVE", For::Nothing),
        ("LEADER.STEPDOWN", For::Nothing),
    ] {
        verbs.push(Verb::says(format!("$JS.API.STREAM.{verb}.{stream}"), is_for));
        verbs.push(Verb::says(format!("$JS.hub.API.STREAM.{verb}.{stream}"), For::Nothing));
    }
    for subject in [
        format!("$JS.API.CONSUMER.NAMES.{stream}"),
        format!("$JS.API.CONSUMER.LIST.{stream}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}"),
        format!("$JS.API.CONSUMER.CREATE.{stream}.another"),
        format!("$JS.API.CONSUMER.CREATE.{stream}.another.{}", subjects[0]),
        format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.another"),
        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.another"),
        format!("$JS.ACK.{stream}.another.1.1.1.1.0"),
        format!("$JS.ACK._.hash.{stream}.another.1.1.1.1.0.x"),
    ] {
        verbs.push(Verb::says(subject, For::Nothing));
    }
}

fn of_durable(durable: &Durable, verbs: &mut Vec<Verb>) {
    let Durable { stream, name } = durable;
    for (verb, is_for) in [
        ("INFO", For::Checking),
        ("CREATE", For::MakingTopology),
        ("DURABLE.CREATE", For::Nothing),
        ("DELETE", For::Nothing),
        ("PAUSE", For::Nothing),
        ("RESET", For::Nothing),
        ("UNPIN", For::Nothing),
        ("LEADER.STEPDOWN", For::Nothing),
    ] {
        verbs.push(Verb::says(format!("$JS.API.CONSUMER.{verb}.{stream}.{name}"), is_for));
    }
    verbs.push(Verb {
        payload: r#"{"batch":1,"no_wait":true}"#,
        ..Verb::says(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"), For::Pulling(durable.clone()))
    });
    verbs.push(Verb::says(format!("dead.{stream}.{name}.x.y"), For::Parking(durable.clone())));
    for domain_and_hash in ["_.hash", "hub.hash"] {
        let subject = format!("$JS.ACK.{domain_and_hash}.{stream}.{name}.1.1.1.1.0.x");
        verbs.push(Verb::says(subject, For::Pulling(durable.clone())));
    }
    verbs.push(Verb::says(format!("$JS.ACK.{stream}.{name}.1.1.1.1.0"), For::Pulling(durable.clone())));
    verbs.push(Verb::says(format!("$JS.FC.{stream}.{name}.x"), For::Nothing));
}

/// What no role has to do with.
fn elsewhere(verbs: &mut Vec<Verb>) {
    let subjects = "$JS.API.STREAM.NAMES $JS.API.STREAM.LIST $JS.API.STREAM.CREATE.another $JS.API.STREAM.DELETE.another \
        $JS.API.STREAM.INFO.another $JS.API.STREAM.CREATE.KV_bucket $JS.API.STREAM.INFO.KV_bucket $JS.API.DIRECT.GET.KV_bucket \
        $JS.API.STREAM.CREATE.OBJ_bucket $JS.API.STREAM.INFO.OBJ_bucket $KV.bucket.key $O.bucket.C.x $O.bucket.M.x \
        $JS.API.META.LEADER.STEPDOWN $JS.API.SERVER.REMOVE $JS.API.ACCOUNT.PURGE.x $JS.API.ACCOUNT.STREAM.MOVE.x.META_INSIGHTS \
        $JS.SNAPSHOT.ACK.META_INSIGHTS.x $JS.EVENT.ADVISORY.x $SYS.REQ.SERVER.PING $SYS.REQ.ACCOUNT.PING.CONNZ $SYS.REQ.USER.INFO \
        $SRV.PING meta.elsewhere.x.y meta.insights somewhere _INBOX.x";
    verbs.extend(subjects.split_whitespace().map(|subject| Verb::says(subject, For::Nothing)));
    for role in SERVICES.iter().chain(&[ALL, OPERATOR, "another"]) {
        verbs.push(Verb::says(format!("_INBOX_{role}.x"), For::Nothing));
        for (queue, subject) in [(None, ".>"), (None, ".x"), (Some("queue"), ".>")] {
            let hearing = For::Hearing { role: (*role).to_owned() };
            verbs.push(Verb { hears: Some(queue), ..Verb::says(format!("_INBOX_{role}{subject}"), hearing) });
        }
    }
    for subject in
        "> * *.> _INBOX.> _INBOX.x $JS.> $JS.API.> $JS.ACK.> $JS.EVENT.ADVISORY.> $SYS.> $KV.> $O.> $SRV.>".split(' ')
    {
        for queue in [None, Some("queue")] {
            verbs.push(Verb { hears: Some(queue), ..Verb::says(subject, For::Nothing) });
        }
    }
}
