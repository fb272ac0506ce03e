//! The document is whole: every route is in it, and it keeps the rules of OpenAPI 3.1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use accounts::KeyRing;
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use super::DOCUMENT;
use crate::settings::Settings;
use crate::web::{Connect, router};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn document() -> Value {
    serde_json::from_str(&DOCUMENT).unwrap()
}

/// Every operation with its path and method.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path} has {method}");
            operations.push((path.clone(), method.clone(), operation.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn every_route_of_the_api_is_described_and_nothing_else() {
    let settings = Settings {
        trusted_proxies: Vec::new(),
        public_url: None,
        listens_at: "127.0.0.1:0".parse().unwrap(),
        admin_password_hash: None,
        app: None,
        jobs_enabled: true,
        fresh_cooldown: Duration::ZERO,
        cron_secret: None,
    };
    let connect = Connect {
        pool: PgPoolOptions::new().connect_lazy("postgres://nobody@127.0.0.1:1/none").unwrap(),
        keys: Arc::new(KeyRing::parse(&"k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned().into()).unwrap()),
        meta: None,
        settings,
        past: None,
        cancel: CancellationToken::new(),
    };
    // A router lists its paths nowhere but here.
    let shown = format!("{:?}", router(connect));
    let is_api = |path: &&str| path.starts_with("/api/") || *path == "/openapi.json";
    let served: BTreeSet<_> = shown.split('"').filter(is_api).map(str::to_owned).collect();
    assert!(served.len() >= 7, "are the paths still shown? {shown}");
    let document = document();
    let described: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let watched = ["/healthz", "/metrics", "/readyz"].map(str::to_owned);
    assert_eq!(described, served.into_iter().chain(watched).collect());
}

#[test]
fn it_is_openapi_3_1() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    for field in ["title", "version"] {
        assert!(!document["info"][field].as_str().unwrap().is_empty());
    }
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let mut ids = BTreeMap::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(path.starts_with('/'), "{at}");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{at} has no id"));
        assert_eq!(ids.insert(id.to_owned(), at.clone()), None, "{at}");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{at} has no summary");
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.contains(&tag), "{at}: {tag}");
        }
        check_parameters(&at, &path, &operation);
        check_responses(&at, &operation);
        for requirement in operation["security"].as_array().into_iter().flatten() {
            for scheme in requirement.as_object().unwrap().keys() {
                assert!(schemes.contains_key(scheme), "{at}: {scheme}");
            }
        }
        assert_eq!(path.starts_with("/api/"), operation["security"].is_array(), "{at}: who may ask");
    }
    check_references(&document, &document);
    for (name, scheme) in schemes {
        let wanted: &[&str] = match scheme["type"].as_str() {
            Some("http") => &["scheme"],
            Some("apiKey") => &["name", "in"],
            other => panic!("{name}: {other:?}"),
        };
        assert!(wanted.iter().all(|field| scheme[*field].is_string()), "{name}");
    }
}

fn check_parameters(at: &str, path: &str, operation: &Value) {
    let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
    let templated: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
    let mut in_path = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for parameter in parameters {
        let (name, place) = (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
        assert!(["query", "path", "header", "cookie"].contains(&place), "{at}: {name} in {place}");
        assert!(seen.insert((name, place)), "{at}: {name} twice");
        assert!(parameter["schema"].is_object() != parameter["content"].is_object(), "{at}: {name} has no one schema");
        if place == "path" {
            assert_eq!(parameter["required"], true, "{at}: {name}");
            in_path.insert(name);
        }
    }
    assert_eq!(in_path, templated, "{at}");
}

fn check_responses(at: &str, operation: &Value) {
    let responses = operation["responses"].as_object().unwrap();
    assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
    for (status, response) in responses {
        assert!(status.parse::<u16>().is_ok_and(|status| (100..600).contains(&status)), "{at}: {status}");
        assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{at}: {status}");
        let kinds: Vec<_> =
            response["content"].as_object().into_iter().flatten().map(|(kind, _)| kind.as_str()).collect();
        let wanted = match (status.as_bytes()[0], at) {
            (b'4' | b'5', at) if at != "get /readyz" => vec!["application/problem+json"],
            _ if status == "304" => vec![],
            _ => {
                assert_eq!(kinds.len(), 1, "{at}: {status}");
                continue;
            }
        };
        assert_eq!(kinds, wanted, "{at}: {status}");
    }
}

/// Every `$ref` leads somewhere.
fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                let pointer = to.strip_prefix('#').unwrap_or_else(|| panic!("{to} leads out of the document"));
                assert!(document.pointer(pointer).is_some(), "{to} leads nowhere");
            }
            // Removed in 3.1.
            assert!(!fields.contains_key("nullable"), "{value}");
            fields.values().for_each(|field| check_references(document, field));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}
