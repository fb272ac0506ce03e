//! The wire against real servers: a fresh nats-server a test.

mod cluster;
mod connect;
mod dead_letters;
mod event;
mod lag;
mod log;
mod old_server;
mod publish;
mod topology;
mod work;
