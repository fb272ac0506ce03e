//! The web side over HTTP, as browsers and programs meet it: the binary's role `web`, on real servers.

mod headers;
mod login;
#[expect(dead_code, reason = "the watch's tests use all of it")]
#[path = "../watch/service.rs"]
mod service;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/shop.rs"]
mod shop;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/tables.rs"]
mod tables;
mod visitor;
