//! adledger: event-sourced ingestion of Meta ad results. One binary; each command is a file in `command/`.

mod boot;
mod command;
mod daily_table;
mod exit;
mod output;
mod progress;
mod roles;
mod shutdown;
mod waiting;
mod web;

use std::process::ExitCode;

use boot::{Boot, Manner};
use clap::{Parser, Subcommand};

/// Event-sourced ingestion of Meta ad results: every answer is kept, every number can be proven.
#[derive(Parser)]
#[command(
    name = "adledger",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: boot::Place,
}

#[derive(Subcommand)]
enum Command {
    Demo(command::demo::Demo),
    Serve(command::serve::Serve),
    Migrate(command::migrate::Migrate),
    Streams(command::streams::Streams),
    Account(command::account::Account),
    Token(command::token::Token),
    Connect(command::connect::Connect),
    Disconnect(command::disconnect::Disconnect),
    Sync(command::sync::Sync),
    Backfill(command::backfill::Backfill),
    Status(command::status::Status),
    Runs(command::runs::Runs),
    Replay(command::replay::Replay),
    Replays(command::replays::Replays),
    Rebuild(command::rebuild::Rebuild),
    AsOf(command::as_of::AsOf),
    PurchaseRule(command::purchase_rule::PurchaseRule),
    Verify(command::verify::Verify),
    Log(command::log::Log),
    Audit(command::audit::Audit),
    Reconcile(command::reconcile::Reconcile),
    Settlement(command::settlement::Settlement),
    DeadLetters(command::dead_letters::DeadLetters),
    Doctor(command::doctor::Doctor),
    Keys(command::keys::Keys),
    Password(command::password::Password),
}

#[tokio::main]
async fn main() -> ExitCode {
    boot::give_large_blocks_back();
    let cli = Cli::parse();
    let (manner, nats_role) = match &cli.command {
        Command::Demo(_) => (Manner::Demo, roles::OPERATOR.to_owned()),
        Command::Serve(serve) => (Manner::Service, serve.role.name()),
        _ => (Manner::Command, roles::OPERATOR.to_owned()),
    };
    let boot = Boot::new(cli.place, manner, nats_role);
    let traces = boot.as_ref().map(|boot| boot.traces.clone()).unwrap_or_default();
    let outcome = match boot {
        Err(error) => Err(error),
        Ok(boot) => match cli.command {
            Command::Demo(command) => command.run(&boot).await,
            Command::Serve(command) => command.run(&boot).await,
            Command::Migrate(command) => command.run(&boot).await,
            Command::Streams(command) => command.run(&boot).await,
            Command::Account(command) => command.run(&boot).await,
            Command::Token(command) => command.run(&boot).await,
            Command::Connect(command) => command.run(&boot).await,
            Command::Disconnect(command) => command.run(&boot).await,
            Command::Sync(command) => command.run(&boot).await,
            Command::Backfill(command) => command.run(&boot).await,
            Command::Status(command) => command.run(&boot).await,
            Command::Runs(command) => command.run(&boot).await,
            Command::Replay(command) => command.run(&boot).await,
            Command::Replays(command) => command.run(&boot).await,
            Command::Rebuild(command) => command.run(&boot).await,
            Command::AsOf(command) => command.run(&boot).await,
            Command::PurchaseRule(command) => command.run(&boot).await,
            Command::Verify(command) => command.run(&boot).await,
            Command::Log(command) => command.run(&boot).await,
            Command::Audit(command) => command.run(&boot).await,
            Command::Reconcile(command) => command.run(&boot).await,
            Command::Settlement(command) => command.run(&boot).await,
            Command::DeadLetters(command) => command.run(&boot).await,
            Command::Doctor(command) => command.run(&boot).await,
            Command::Keys(command) => command.run(&boot).await,
            Command::Password(command) => command.run(),
        },
    };
    traces.flush().await;
    exit::code(outcome)
}
