//! The wire against real servers: a fresh nats-server a test.

mod cluster;
mod connect;
mod consume;
mod dead_letters;
mod event;
mod lag;
mod log;
mod objects;
mod old_server;
mod permissions;
mod publish;
mod retry;
mod topology;
