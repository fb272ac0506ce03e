use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use jetstream::topology::{self, Difference};

use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;

/// Create or compare the streams and consumers
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Streams {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create what is missing and update what differs; nothing is ever deleted
    Apply,
    /// Compare the server with the topology files and change nothing; exit code 3 on a difference
    Check {
        /// Print the differences as JSON
        #[arg(long)]
        json: bool,
    },
}

impl Streams {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (wire, _servers) = boot.nats().await?;
        let limits = &boot.settings.limits;
        match self.action {
            Action::Apply => {
                let differences = topology::apply(&wire, limits).await?;
                if !differences.is_empty() {
                    print(&differences)?;
                    bail!("the server did not take what was asked");
                }
                output::line("Streams and consumers are as the topology files say.")?;
                Ok(Outcome::Done)
            }
            Action::Check { json } => {
                let differences = topology::check(&wire, limits).await?;
                if json {
                    output::json(&differences)?;
                } else if differences.is_empty() {
                    output::line("Streams and consumers are as the topology files say.")?;
                } else {
                    print(&differences)?;
                    output::line("Run `adledger streams apply` to bring the server into line.")?;
                }
                Ok(if differences.is_empty() { Outcome::Done } else { Outcome::Findings })
            }
        }
    }
}

fn print(differences: &[Difference]) -> Result<()> {
    let mut table = output::table(&["object", "field", "wanted", "found"]);
    for d in differences {
        table.add_row([&d.object, &d.field, &d.wanted, &d.found]);
    }
    output::line(&table.to_string())
}
