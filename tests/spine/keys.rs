//! The keys that seal tokens are changed while services run.

use std::time::Duration;

use anyhow::Result;
use testkit::wait;

use crate::service::{DEADLINE, Service};
use crate::shop::{KEYS, Shop, run};

const NEW: &str = "k2:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

async fn kids(shop: &Shop) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("select kid from integration_secrets").fetch_all(&shop.database.pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_takes_over_while_days_are_fetched() -> Result<()> {
    let shop = Shop::open().await?;
    let (both, integration) = (format!("{NEW},{KEYS}"), shop.integration_id.to_string());
    let with = |keys: &str, arguments: &[&str]| {
        let mut command = shop.command(arguments);
        command.env("ADLEDGER_SECRET_KEYS", keys);
        command
    };
    // Whoever only knows the new key can open nothing yet, and says which key it lacks.
    let ran = run(with(NEW, &["keys", "rotate"]), None).await?;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("\"k1\", which ADLEDGER_SECRET_KEYS does not hold"), "{ran:?}");
    assert_eq!(kids(&shop).await?, ["k1"], "it is left as it is");

    let mut service = Service::start(with(&both, &["serve"]))?;
    service.says("serving HTTP").await?;
    let rotating = async {
        let ran = run(with(&both, &["keys", "rotate"]), None).await?;
        assert_eq!(ran.code, 0, "{ran:?}");
        anyhow::Ok(ran.stdout)
    };
    let fetching = async {
        for job in ["meta_7d_fill", "meta_fresh", "meta_7d_fill"] {
            let arguments = ["sync", "--integration", &integration, "--job", job, "--wait", "--deadline-seconds", "60"];
            let ran = run(with(&both, &arguments), None).await?;
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        anyhow::Ok(())
    };
    let (said, fetched) = tokio::join!(rotating, fetching);
    fetched?;
    let said = said?;
    assert!(said.contains("1 tokens are sealed anew with key \"k2\""), "{said}");
    assert!(said.contains("Key \"k1\" seals nothing any more"), "{said}");
    assert_eq!(kids(&shop).await?, ["k2"]);
    let again = run(with(&both, &["keys", "rotate"]), None).await?;
    assert!(again.stdout.contains("0 tokens"), "{again:?}");
    service.end().await?;

    // The old key is gone for good.
    let mut service = Service::start(with(NEW, &["serve"]))?;
    service.says("serving HTTP").await?;
    let arguments =
        ["sync", "--integration", &integration, "--job", "meta_fresh", "--wait", "--deadline-seconds", "60"];
    let ran = run(with(NEW, &arguments), None).await?;
    assert_eq!(ran.code, 0, "{ran:?}");
    service.end().await
}

/// Without a key nothing starts that would have to open a token, and a half-open door is not left by a typo either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_usable_key_no_service_starts() -> Result<()> {
    let shop = Shop::open().await?;
    for (keys, said) in [
        ("", "ADLEDGER_SECRET_KEYS is not set"),
        ("k1", "has no id: write kid:base64"),
        ("k1:c2hvcnQ=", "is not base64 of 32 bytes"),
    ] {
        for role in ["web", "fetch", "all"] {
            let mut command = shop.command(&["serve", "--role", role]);
            command.env("ADLEDGER_SECRET_KEYS", keys);
            let ran = tokio::time::timeout(Duration::from_secs(30), run(command, None)).await??;
            assert_eq!(ran.code, 2, "{role} {keys:?}: {ran:?}");
            assert!(ran.stderr.contains(said), "{role} {keys:?}: {ran:?}");
        }
    }
    // A service that runs and does not know the key of a token says which one it lacks, and the token stays.
    let mut command = shop.command(&["serve"]);
    command.env("ADLEDGER_SECRET_KEYS", NEW);
    let mut service = Service::start(command)?;
    wait::until("the fill has failed for want of the key", DEADLINE, async || {
        let message: Option<Option<String>> =
            sqlx::query_scalar("select error_message from sync_runs where status = 'failed' limit 1")
                .fetch_optional(&shop.database.pool)
                .await?;
        Ok(message.flatten().is_some_and(|message| message.contains("\"k1\"")))
    })
    .await?;
    assert_eq!(kids(&shop).await?, ["k1"]);
    service.end().await
}
