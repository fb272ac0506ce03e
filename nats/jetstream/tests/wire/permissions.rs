//! The permission files, on a server whose users have them: each role does what it has to, and is refused the rest.

mod speaker;
mod verbs;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jetstream::topology::{apply, check, durables};
use jetstream::{BATCH_BYTES, DEAD_LETTERS, Disposition, META_CONNECT, META_INSIGHTS, Wire, WireError};
use testkit::wait::until;
use testkit::{LIMITS, Nats, nats_with_roles, permission_files};

use self::speaker::{Said, Speaker};
use self::verbs::{ALL, OPERATOR, SERVICES, puller, verbs};

const DEADLINE: Duration = Duration::from_secs(20);
/// What makes a server of 2.14 or 2.15 write acknowledgement subjects as those after it do.
const NEWER_ACKS: &str = "feature_flags { js_ack_fc_v2: true }";

/// A server with the roles' users, and the streams.
async fn server(config: &str) -> Result<Nats> {
    let nats = nats_with_roles(config).await?;
    // By the role whose matter it is: a server of one's own has nobody else.
    let operator = Wire::connect(&nats.url_of(OPERATOR)?, None, OPERATOR).await?;
    assert_eq!(apply(&operator, &LIMITS).await?, []);
    Ok(nats)
}

#[tokio::test]
async fn each_role_may_say_and_hear_what_it_has_to_and_nothing_else() -> Result<()> {
    let nats = server("").await?;
    let mut roles: Vec<&str> = SERVICES.into_iter().chain([ALL, OPERATOR]).collect();
    let files: Vec<String> = permission_files()?.into_iter().map(|(role, _)| role).collect();
    roles.sort_unstable();
    assert_eq!(files, roles, "a file a role");
    // Last, because it changes things.
    roles.sort_by_key(|role| *role == OPERATOR);
    let verbs = verbs()?;
    let mut findings = Vec::new();
    for role in roles {
        if role == OPERATOR {
            assert_eq!(check(&nats.wire, &LIMITS).await?, [], "what was refused changed nothing");
        }
        let mut speaker = Speaker::login(&nats, role).await?;
        for verb in &verbs {
            let is_needed = verb.is_needed_by(role);
            let said = match verb.hears {
                Some(queue) => speaker.subscribe(&verb.subject, queue).await?,
                None => speaker.ask(&verb.subject, verb.payload, is_needed && verb.has_answer()).await?,
            };
            let (act, refusal) = match verb.hears {
                Some(_) => ("hears", "Permissions Violation for Subscription to"),
                None => ("says", "Permissions Violation for Publish to"),
            };
            let is_refused = match said {
                Said::Refused(words) if words.contains(refusal) => true,
                Said::Refused(words) => anyhow::bail!("{role} {act} {}: {words}", verb.subject),
                // What is not asked of the server is stored by it.
                Said::Answer(_, words) if !verb.subject.starts_with('$') && !words.contains("\"seq\":") => {
                    anyhow::bail!("{role} {act} {}: {words}", verb.subject)
                }
                Said::Answer(..) | Said::Nothing => false,
            };
            if is_needed == is_refused {
                let how = if is_refused { "is refused" } else { "is not refused" };
                findings.push(format!("{role} {how} what it {act}: {} {:?}", verb.subject, verb.hears));
            }
        }
    }
    ensure!(findings.is_empty(), "{} found:\n  {}", findings.len(), findings.join("\n  "));
    Ok(())
}

#[tokio::test]
async fn each_consumer_is_pulled_and_answered_by_its_role_in_both_forms_of_acknowledgements() -> Result<()> {
    for (config, form) in [("", "$JS.ACK.META_"), (NEWER_ACKS, "$JS.ACK._.")] {
        let nats = server(config).await?;
        for subject in ["meta.insights.a.b", "meta.connect.a", "meta.sync.a"] {
            for last in ["1", "2", "3"] {
                nats.publish_foreign(&format!("{subject}.{last}"), &[], b"{}").await?;
            }
        }
        let mut letters = 0;
        for durable in durables()? {
            let (role, parks) = puller(&durable);
            let (stream, name) = (durable.stream.as_str(), durable.name.as_str());
            // How the server writes it, seen from outside; the message is given back.
            let mut speaker = Speaker::login(&nats, role).await?;
            let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
            let said = speaker.ask(&next, r#"{"batch":1,"no_wait":true}"#, true).await?;
            let Said::Answer(ack, _) = &said else { anyhow::bail!("{role} gets no message: {said:?}") };
            ensure!(ack.starts_with(form), "{ack}");
            let said = speaker.ask(ack, "-NAK", false).await?;
            ensure!(!matches!(said, Said::Refused(_)), "{role} gives back: {said:?}");

            let wire = Wire::connect(&nats.url_of(role)?, None, role).await?;
            let puller = wire.puller(stream, name).await?;
            let mut settled = 0;
            while settled < 3 {
                for delivery in puller.next_batch(3, BATCH_BYTES, DEADLINE).await? {
                    settled += 1;
                    let is_first = delivery.message.sequence == 1;
                    letters += u64::from(parks && is_first);
                    let disposition = match parks && is_first {
                        true => Disposition::Park { reason: "it is the first".to_owned() },
                        false => Disposition::Ack,
                    };
                    puller.settle(&delivery, disposition).await;
                }
            }
            until(&format!("{role} has settled everything"), DEADLINE, async || {
                let lag = nats.wire.lag(stream, name).await?;
                Ok((lag.gap, lag.in_flight) == (0, 0))
            })
            .await?;
        }
        assert_eq!(letters, 3);
        assert_eq!(nats.wire.log(DEAD_LETTERS).await?.level().await?.messages, letters);
    }
    Ok(())
}

/// The limit of these files, so that nobody takes them for more: they hold a process of ours, whatever fault it has.
/// They do not hold somebody with a consumer's password who speaks the protocol by himself, because the server does not
/// ask whether the subject that a request is to be answered at may be published to, but for acknowledgements. Should a
/// newer server ask, this fails, and docs/adr/0011 may go.
#[tokio::test]
async fn an_answer_goes_wherever_the_request_says() -> Result<()> {
    let nats = server("").await?;
    let mut speaker = Speaker::login(&nats, "raw").await?;
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{META_INSIGHTS}.raw");
    let nothing_there = r#"{"batch":1,"no_wait":true}"#;
    let said = speaker.publish(&next, "$JS.ACK.META_CONNECT.initial-fill.1.1.1.1.0", nothing_there, false).await?;
    assert!(matches!(&said, Said::Refused(words) if words.contains("Publish with Reply of")), "{said:?}");
    let said = speaker.publish(&next, "$JS.API.STREAM.DELETE.META_CONNECT", nothing_there, false).await?;
    assert!(matches!(said, Said::Nothing), "{said:?}");
    until("the stream is gone", DEADLINE, async || match nats.wire.log(META_CONNECT).await {
        Ok(_) => Ok(false),
        Err(WireError::NoStream { .. }) => Ok(true),
        Err(error) => Err(error).context("the server answers"),
    })
    .await
}
