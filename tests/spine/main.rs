//! The whole path, as a user walks it: the binary, a Graph-like server, a real nats-server and a real PostgreSQL.

mod bad_input;
mod canary;
mod crash;
mod demo;
mod fill;
mod keys;
mod ladder;
mod misfortune;
mod past;
mod reconcile;
mod replays;
mod roles;
mod rules;
mod serve;
#[expect(dead_code, reason = "the watch's tests use all of it")]
#[path = "../watch/service.rs"]
mod service;
mod settlement;
mod shop;
mod strange;
mod tables;
mod throttled;
mod two_logs;
mod verify;
