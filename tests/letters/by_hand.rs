//! `adledger dead-letters`, as a person uses it.

use anyhow::{Context, Result, ensure};
use jetstream::META_INSIGHTS;
use serde_json::Value;
use testkit::wait;
use uuid::Uuid;

use crate::service::{DEADLINE, Service};
use crate::shop::{Ran, Shop, days_ago, run};

/// A shop with three letters: of a message that is no event, one each of raw and projector; and of a day whose rows
/// cannot be read. Returns the place of that day's letter in the list, too.
async fn with_letters() -> Result<(Shop, u64)> {
    let shop = Shop::open().await?;
    let subject = format!("meta.insights.{}.{}.{}", Uuid::from_u128(1), Uuid::from_u128(2), days_ago(9));
    let note = [("x-note".to_owned(), "a \u{1b}[31mred one".to_owned())];
    shop.nats.publish_foreign(&subject, &note, b"hello\x00").await?;
    shop.spoil(days_ago(3));
    let ran = shop.sync("meta_7d_fill").await?;
    ensure!(ran.code == 1 && ran.stderr.contains("were parked"), "{ran:?}");
    let account = shop.account_id.to_string();
    let listed = json(&shop, &["list", "--account", &account]).await?;
    let id = listed["letters"][0]["id"].as_u64().context("an id")?;
    wait::until("each is parked", DEADLINE, async || {
        Ok(json(&shop, &["list"]).await?["letters"].as_array().is_some_and(|letters| letters.len() == 3))
    })
    .await?;
    Ok((shop, id))
}

async fn letters(shop: &Shop, arguments: &[&str]) -> Result<Ran> {
    let mut command = vec!["dead-letters"];
    command.extend(arguments);
    shop.run(&command).await
}

async fn json(shop: &Shop, arguments: &[&str]) -> Result<Value> {
    let ran = letters(shop, &[arguments, &["--json"]].concat()).await?;
    ensure!(ran.code == 0 && ran.stderr.is_empty(), "{ran:?}");
    Ok(serde_json::from_str(&ran.stdout)?)
}

fn ids(listed: &Value) -> Vec<u64> {
    listed["letters"].as_array().into_iter().flatten().filter_map(|letter| letter["id"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_listed_and_shown() -> Result<()> {
    let (shop, day) = with_letters().await?;
    let account = shop.account_id.to_string();
    let ran = letters(&shop, &["list"]).await?;
    ensure!(ran.code == 0 && ran.stderr.is_empty(), "{ran:?}");
    for words in
        [" raw ", " projector ", META_INSIGHTS, &account, "ad 1: spend \"12,34\" is not a number", "ce-specversion"]
    {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    let ran = letters(&shop, &["list", "--limit", "1"]).await?;
    assert!(ran.code == 0 && ran.stdout.contains("2 more: --limit shows them"), "{ran:?}");
    for (narrowed, count) in [
        (["--consumer", "raw"], 1),
        (["--consumer", "projector"], 2),
        (["--stream", META_INSIGHTS], 3),
        (["--stream", "META_SYNC"], 0),
        (["--account", &account], 1),
    ] {
        let listed = json(&shop, &["list", narrowed[0], narrowed[1]]).await?;
        assert_eq!((ids(&listed).len(), &listed["more"]), (count, &0.into()), "{narrowed:?}");
    }
    let listed = json(&shop, &["list", "--account", &account]).await?;
    let letter = &listed["letters"][0];
    assert_eq!((&letter["consumer"], &letter["account_id"]), (&"projector".into(), &account.as_str().into()));
    assert_eq!((&letter["stream"], &letter["is_whole"]), (&META_INSIGHTS.into(), &true.into()), "{letter}");

    let id = day.to_string();
    let ran = letters(&shop, &["show", &id]).await?;
    for words in ["by consumer projector of stream META_INSIGHTS", "ce-id: ", "\"spend\": \"12,34\"", &account] {
        assert!(ran.code == 0 && ran.stdout.contains(words), "{words}: {ran:?}");
    }
    let shown = json(&shop, &["show", &id]).await?;
    assert_eq!(shown["data"]["rows"][0]["spend"], "12,34", "{shown}");
    assert_eq!(shown["data"]["date"], days_ago(3).to_string());

    let hello = ids(&json(&shop, &["list", "--consumer", "raw"]).await?)[0].to_string();
    let ran = letters(&shop, &["show", &hello]).await?;
    for words in ["x-note: a \\u{1b}[31mred one", "payload is not JSON", "68 65 6c 6c 6f 00", "hello."] {
        assert!(ran.code == 0 && ran.stdout.contains(words), "{words}: {ran:?}");
    }
    assert!(!ran.stdout.contains('\u{1b}'), "nothing of a letter's reaches the terminal as it is");
    let ran = letters(&shop, &["show", &hello, "--payload", "-"]).await?;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello\0"));
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("payload");
    let ran = letters(&shop, &["show", &hello, "--payload", &file.to_string_lossy()]).await?;
    assert!(ran.code == 0 && ran.stdout.contains("6 bytes are in"), "{ran:?}");
    assert_eq!(std::fs::read(file)?, b"hello\0");
    let ran = shop.run(&["doctor"]).await?;
    for words in ["3 messages are parked", "(2 by projector of META_INSIGHTS, 1 by raw of META_INSIGHTS)"] {
        assert!(ran.code == 3 && ran.stdout.contains(words), "{words}: {ran:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_retried_and_dropped() -> Result<()> {
    let (shop, day) = with_letters().await?;
    let log = shop.nats.wire.log(META_INSIGHTS).await?;
    let before = log.level().await?.messages;
    let id = day.to_string();
    let ran = letters(&shop, &["retry", "999", &id]).await?;
    assert!(ran.code == 1 && ran.stdout.contains("if the cause is not mended, it is parked anew"), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("there is no letter 999"), "{ran:?}");
    assert_eq!(log.level().await?.messages, before + 1);
    let ran = letters(&shop, &["retry", &id]).await?;
    assert!(ran.code == 1 && ran.stderr.contains(&format!("there is no letter {id}")), "{ran:?}");

    // Nothing was mended: it is parked again, and a look says so.
    let mut project = Service::start(shop.command(&["serve", "--role", "project"]))?;
    let account = shop.account_id.to_string();
    let again = async || json(&shop, &["list", "--account", &account]).await.map(|listed| ids(&listed));
    wait::until("it is parked anew", DEADLINE, async || Ok(again().await?.first().is_some_and(|id| *id > day))).await?;
    project.end().await?;

    let again = again().await?[0].to_string();
    let ran = letters(&shop, &["drop", &again, "998", "999"]).await?;
    assert!(ran.code == 1 && ran.stdout.contains(&format!("Letter {again} was dropped")), "{ran:?}");
    assert!(ran.stderr.contains("letter 998") && ran.stderr.contains("letter 999"), "{ran:?}");
    let ran = letters(&shop, &["drop", "--all", "--consumer", "raw"]).await?;
    assert!(ran.code == 0 && ran.stdout.lines().count() == 1, "{ran:?}");
    let ran = letters(&shop, &["retry", "--all"]).await?;
    assert!(ran.code == 0 && ran.stdout.contains("was published again"), "{ran:?}");
    let ran = letters(&shop, &["drop", "--all"]).await?;
    assert!(ran.code == 0 && ran.stdout.contains("No such message is parked."), "{ran:?}");
    let ran = letters(&shop, &["list"]).await?;
    assert!(ran.code == 0 && ran.stdout.contains("No message is parked."), "{ran:?}");
    assert_eq!(log.level().await?.messages, before + 2, "what is dropped stays in its stream");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_to_letters_that_were_not_meant() -> Result<()> {
    let shop = Shop::open().await?;
    shop.nats.publish_foreign("dead.META_INSIGHTS.raw.x", &[], b"{}").await?;
    for (arguments, code, words) in [
        (vec!["drop"], 2, "--all"),
        (vec!["retry"], 2, "--all"),
        (vec!["drop", "1", "--all"], 2, "--all"),
        (vec!["drop", "--stream", "META_INSIGHTS"], 2, "--all"),
        (vec!["drop", "1", "--consumer", "raw"], 2, "--consumer"),
        (vec!["drop", "one"], 2, "'one'"),
        (vec!["list", "--stream", "*"], 2, "a name has no spaces, dots, * or >"),
        (vec!["list", "--limit", "0"], 2, "--limit"),
        (vec!["show", "9"], 1, "there is no letter 9: `adledger dead-letters list`"),
        (vec!["show", "0"], 1, "there is no letter 0"),
        (vec!["retry", "1"], 1, "does not say where its message came from"),
    ] {
        let ran = letters(&shop, &arguments).await?;
        assert!(ran.code == code && ran.stderr.contains(words), "{arguments:?}: {ran:?}");
    }
    // PostgreSQL is not asked.
    let mut command = shop.command(&["dead-letters", "list", "--json"]);
    command.env("DATABASE_URL", "postgres://u:p@127.0.0.1:1/x");
    let ran = run(command, None).await?;
    assert_eq!(ids(&serde_json::from_str(&ran.stdout)?), [1], "{ran:?}");
    let empty = testkit::nats_without_streams().await?;
    let mut command = shop.command(&["dead-letters", "list"]);
    command.env("NATS_URL", &empty.url);
    let ran = run(command, None).await?;
    assert!(ran.code == 1 && ran.stderr.contains("run `adledger streams apply`"), "{ran:?}");
    Ok(())
}
