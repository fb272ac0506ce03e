//! The web side as its users meet it: the real binary on real servers, asked over HTTP.

#[expect(dead_code, reason = "the connect flow's tests use all of it")]
#[path = "../connect/browser.rs"]
mod browser;
mod document;
mod follow;
mod headers;
mod login;
mod refusals;
mod scheduler;
#[expect(dead_code, reason = "the watchers' tests use all of it")]
#[path = "../watch/service.rs"]
mod service;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/shop.rs"]
mod shop;
mod site;
mod summary;
mod syncs;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/tables.rs"]
mod tables;
mod tenants;
mod tokens;
