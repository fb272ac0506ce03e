//! Messages that nobody can use: parked, looked at, retried and dropped by hand; and servers that go away, which is no
//! message's fault.

mod by_hand;
mod line;
mod outage;
#[expect(dead_code, reason = "the watch's tests use all of it")]
#[path = "../watch/service.rs"]
mod service;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/shop.rs"]
mod shop;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/tables.rs"]
mod tables;
mod too_early;
