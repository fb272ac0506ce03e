//! API tokens on the command line: made once, listed without themselves, revoked.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::site::{Member, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_printed_once_opens_its_tenant_and_can_be_revoked() -> Result<()> {
    let site = Site::open().await?;
    let tenant = site.member().await?.tenant;
    let account = tenant.account_id.to_string();
    let made = site.run(&["token", "create", "--account", &account, "--name", "the shop's\u{1b}[31m"]).await?;
    ensure!(made.code == 2, "{made:?}");
    let made = site.run(&["token", "create", "--account", &account, "--name", "the shop's"]).await?;
    ensure!(made.code == 0, "{made:?}");
    let token = made.stdout.strip_suffix('\n').context("a line")?.to_owned();
    assert!(token.starts_with("adl_") && !token.contains(char::is_whitespace), "{token}");
    assert!(made.stderr.contains("shown this once") && !made.stderr.contains(&token), "{}", made.stderr);

    let web = site.serve(&[]).await?;
    let member = Member { tenant, token: token.clone(), token_id: Uuid::nil() };
    web.get(&member, "/api/sync-runs").await?.json(200)?;
    assert!(!web.service.log().contains(&token));

    let listed = site.run(&["token", "list", "--account", &account, "--json"]).await?.stdout;
    let tokens: Vec<Value> = serde_json::from_str(&listed)?;
    let entry = tokens.iter().find(|token| token["name"] == "the shop's").context("it is listed")?;
    assert!(entry["last_used_at"].is_string() && entry["revoked_at"].is_null(), "{entry}");
    let id = entry["id"].as_str().context("an id")?;
    let table = site.run(&["token", "list"]).await?.stdout;
    assert!(table.contains(id) && table.contains("the shop's"), "{table}");
    assert!(!listed.contains(&token) && !table.contains(&token));
    let nobody = Uuid::new_v4().to_string();
    assert_eq!(site.run(&["token", "list", "--account", &nobody, "--json"]).await?.stdout.trim(), "[]");

    let revoked = site.run(&["token", "revoke", id]).await?;
    ensure!(revoked.code == 0, "{revoked:?}");
    let detail = web.get(&member, "/api/sync-runs").await?.problem(401)?;
    assert!(detail.contains("revoked"), "{detail}");
    for arguments in [&["token", "revoke", id][..], &["token", "create", "--account", &nobody]] {
        let ran = site.run(arguments).await?;
        assert!(ran.code == 1 && ran.stdout.is_empty() && ran.stderr.contains("adledger "), "{ran:?}");
    }
    Ok(())
}
