//! The connect flow as a person walks it: the binary's web role over HTTP with a browser's cookies, a Graph-like server
//! with its dialog, a real PostgreSQL and a real nats-server.

mod again;
#[expect(dead_code, reason = "the web's other tests use all of it")]
mod browser;
mod canary;
mod checks;
mod choosing;
mod crash;
mod disconnect;
mod house;
mod oauth;
mod paste;
#[expect(dead_code, reason = "the watchers' tests use all of it")]
#[path = "../watch/service.rs"]
mod service;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/shop.rs"]
mod shop;
mod stub;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/tables.rs"]
mod tables;
mod tokens;
