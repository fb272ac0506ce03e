//! Servers with tenants on them, and processes that serve the web role for them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::Value;
use testkit::{Database, Nats, Tenant};
use tokio::process::Command;
use uuid::Uuid;

use crate::service::Service;
use crate::shop::{KEYS, Ran, adledger, run};

pub struct Site {
    pub database: Database,
    pub nats: Nats,
}

/// A tenant with one connected ad account of Meta's, and an API token.
pub struct Member {
    pub tenant: Tenant,
    pub token: String,
    pub token_id: Uuid,
}

/// A process that serves.
pub struct Web {
    pub service: Service,
    pub url: String,
    http: Client,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Site {
    pub async fn open() -> Result<Site> {
        rustls::crypto::ring::default_provider().install_default().ok();
        Ok(Site { database: testkit::database().await?, nats: testkit::nats().await? })
    }

    /// The binary with this site's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = adledger(arguments);
        command
            .env("DATABASE_URL", &self.database.url)
            .env("NATS_URL", &self.nats.url)
            .env("ADLEDGER_SECRET_KEYS", KEYS)
            .env("HTTP_ADDR", "127.0.0.1:0");
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        run(self.command(arguments), None).await
    }

    /// Serves the web role and nothing else, so that no run is worked on.
    pub async fn serve(&self, settings: &[(&str, &str)]) -> Result<Web> {
        self.serve_role("web", settings).await
    }

    pub async fn serve_role(&self, role: &str, settings: &[(&str, &str)]) -> Result<Web> {
        let mut command = self.command(&["serve", "--role", role]);
        command.envs(settings.iter().copied());
        let mut service = Service::start(command)?;
        let url = service.url().await?;
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = http.connect_timeout(Duration::from_secs(10)).read_timeout(Duration::from_secs(60)).build()?;
        Ok(Web { service, url, http })
    }

    pub async fn member(&self) -> Result<Member> {
        let tenant = Tenant::insert(&self.database.pool).await?;
        let (token_id, token) = accounts::create_api_token(&self.database.pool, tenant.account_id, "test").await?;
        Ok(Member { tenant, token: token.expose_secret().to_owned(), token_id })
    }

    /// Runs one statement of a test's own.
    pub async fn sql(&self, statement: &'static str) -> Result<()> {
        sqlx::raw_sql(statement).execute(&self.database.pool).await?;
        Ok(())
    }

    pub async fn runs(&self) -> Result<Vec<runs::Run>> {
        Ok(runs::runs(&self.database.pool, 100).await?)
    }
}

impl Web {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, member: &Member, path: &str) -> Result<Answer> {
        answer(self.request(Method::GET, path).bearer_auth(&member.token)).await
    }

    pub async fn post(&self, member: &Member, path: &str, document: &Value) -> Result<Answer> {
        answer(self.request(Method::POST, path).bearer_auth(&member.token).json(document)).await
    }

    /// Asks for a run of the member's integration.
    pub async fn sync(&self, member: &Member, job: &str) -> Result<Answer> {
        let path = format!("/api/integrations/{}/sync", member.tenant.integration_id);
        self.post(member, &path, &serde_json::json!({ "job_type": job })).await
    }

    pub async fn schedule(&self, secret: &str) -> Result<Answer> {
        answer(self.request(Method::POST, "/api/scheduler/meta").bearer_auth(secret)).await
    }
}

pub async fn answer(request: RequestBuilder) -> Result<Answer> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Ok(Answer { status, headers, body: answer.text().await? })
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The document of an answer that must have this status.
    pub fn json(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status && self.header("content-type") == Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }

    /// What a refusal with this status says; it must be a problem.
    pub fn problem(&self, status: u16) -> Result<String> {
        let is_problem = self.header("content-type") == Some("application/problem+json");
        ensure!(self.status == status && is_problem, "wanted {status}: {self:?}");
        let problem: Value = serde_json::from_str(&self.body)?;
        ensure!(problem["status"] == status && problem["title"].is_string(), "{problem}");
        problem["detail"].as_str().map(str::to_owned).with_context(|| self.body.clone())
    }

    /// The id of the run that a sync was answered with.
    pub fn run_id(&self) -> Result<Uuid> {
        let document: Value = serde_json::from_str(&self.body)?;
        Ok(document["sync_run_id"].as_str().with_context(|| self.body.clone())?.parse()?)
    }
}
