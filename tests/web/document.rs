//! The OpenAPI document as it is served: what it describes is there.

use anyhow::{Context, Result};
use reqwest::Method;

use crate::site::{Site, answer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_document_describes_is_served() -> Result<()> {
    let site = Site::open().await?;
    let web = site.serve(&[("META_CRON_SECRET", "s3cret")]).await?;
    let document = answer(web.request(Method::GET, "/openapi.json")).await?.json(200)?;
    let paths = document["paths"].as_object().context("paths")?;
    assert!(paths.len() >= 10, "{paths:?}");
    for (path, item) in paths {
        for (method, operation) in item.as_object().context("operations")? {
            let asked = path.replace("{id}", &uuid::Uuid::nil().to_string());
            let method = Method::from_bytes(method.to_uppercase().as_bytes())?;
            let answer = answer(web.request(method.clone(), &asked)).await?;
            // Without a credential: 401 where one is needed, and never that there is no such route or method.
            let needs_one = operation["security"].is_array();
            assert_eq!(answer.status, if needs_one { 401 } else { 200 }, "{method} {path}: {answer:?}");
            assert!(operation["responses"][answer.status.to_string()].is_object(), "{method} {path}");
        }
    }
    Ok(())
}
