//! Somebody at the pages: looks at each with more than eyes, and knows the ways that several scenarios go.

use std::ops::Deref;

use anyhow::{Result, ensure};
use testkit::browser::{Browser, Options, Page};

use crate::house::{House, TOKEN};

pub struct Visit {
    page: Page,
    base: String,
    /// As the names of pictures have it.
    looks: String,
}

impl Deref for Visit {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.page
    }
}

impl Visit {
    pub async fn begin(browser: &Browser, house: &House, options: Options) -> Result<Visit> {
        let looks = [
            if options.phone { "phone" } else { "desktop" },
            if options.dark { "dark" } else { "light" },
            if options.javascript { "" } else { "plain" },
        ];
        let looks = looks.into_iter().filter(|look| !look.is_empty()).collect::<Vec<_>>().join("-");
        Ok(Visit { page: browser.page(options).await?, base: house.url.clone(), looks })
    }

    /// Opens a path of the service's.
    pub async fn go(&self, path: &str) -> Result<()> {
        self.open(&format!("{}{path}", self.base)).await
    }

    /// The path that is shown, with its query.
    pub async fn path(&self) -> Result<String> {
        let url = self.url().await?;
        let path = url.strip_prefix(&self.base).unwrap_or(&url);
        // Meta hangs this on every way back, and browsers keep it.
        Ok(path.trim_end_matches("#_=_").to_owned())
    }

    /// A page that went well: a picture of it is kept, and nothing is wrong with it that a program can tell.
    pub async fn look(&self, name: &str) -> Result<()> {
        self.look_at_refusal(name).await?;
        ensure!(self.status() == Some(200), "{name}: HTTP {:?}", self.status());
        Ok(())
    }

    /// The same of a page whose status is an error's.
    pub async fn look_at_refusal(&self, name: &str) -> Result<()> {
        let name = format!("{name}-{}", self.looks);
        let picture = self.screenshot(&name).await?;
        let (problems, basics) = (self.problems().await?, self.basics().await?);
        ensure!(problems.is_empty(), "{name}: {problems:#?}, see {}", picture.display());
        ensure!(basics.is_empty(), "{name}: {basics:#?}, see {}", picture.display());
        Ok(())
    }

    /// Makes a tenant, which is looked at from then on.
    pub async fn make_tenant(&self, name: &str, currency: &str) -> Result<()> {
        self.go("/tenants").await?;
        self.fill("#name", name).await?;
        self.fill("#currency", currency).await?;
        self.fill("#timezone", "Europe/Berlin").await?;
        self.click("form[action='/tenants'] button").await?;
        ensure!(self.path().await? == "/", "a tenant that was made is looked at: {}", self.path().await?);
        Ok(())
    }

    /// Pastes the token that sees everything, and comes to the list of ad accounts.
    pub async fn paste_token(&self) -> Result<()> {
        self.go("/connect/meta").await?;
        self.fill("#token", TOKEN).await?;
        self.click("form[action='/connect/meta/token'] button").await?;
        let path = self.path().await?;
        ensure!(path == "/connect/meta/accounts", "the token was kept: {path}");
        Ok(())
    }

    /// Chooses ad accounts of the list, and connects them.
    pub async fn connect(&self, external_ids: &[&str]) -> Result<()> {
        for external_id in external_ids {
            self.click(&format!("label[for='{external_id}']")).await?;
        }
        self.click("#choose button.primary").await?;
        ensure!(self.texts("h1").await? == ["Connected"], "{:?}", self.texts("main").await?);
        Ok(())
    }

    /// From the results to the page of an ad account that was connected.
    pub async fn to_its_page(&self, external_id: &str) -> Result<()> {
        self.click(&format!("[data-ad-account='{external_id}'] a[href^='/integrations/']")).await
    }
}
