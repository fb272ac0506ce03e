//! What a service says about itself: health and readiness, metrics, traces. On real servers that are taken away.

mod account_limit;
mod full;
mod health;
mod metrics;
mod openmetrics;
mod service;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/shop.rs"]
mod shop;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/tables.rs"]
mod tables;
mod take_over;
mod traces;
