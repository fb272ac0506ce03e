use anyhow::Result;
use clap::Args;
use jetstream::topology::{self, Difference};

use crate::boot::{Boot, Servers};
use crate::exit::Outcome;
use crate::roles::{self, Role};
use crate::web::WhenTaken;

/// Run roles until a signal
///
/// Any number of processes may run any role. The first SIGINT or SIGTERM ends in order: what is in hand is finished or
/// given back.
#[derive(Args)]
pub struct Serve {
    #[arg(long, default_value = "all")]
    pub role: Role,
}

impl Serve {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        roles::check_settings(self.role, boot)?;
        let servers = boot.servers().await?;
        check_streams(boot, &servers).await?;
        let when_taken = if self.role == Role::Web { WhenTaken::Refuse } else { WhenTaken::WaitItsTurn };
        let listener = roles::listen(self.role, boot, when_taken).await?;
        roles::serve(self.role, boot, servers, listener).await
    }
}

/// Refuses to serve without a stream or consumer; one that differs is somebody's decision, and is said.
async fn check_streams(boot: &Boot, servers: &Servers) -> Result<()> {
    for difference in topology::check(&servers.wire, &boot.settings.limits).await? {
        let Difference { object, field, wanted, found } = &difference;
        anyhow::ensure!(!difference.is_missing(), "{object} is missing: run `adledger streams apply`");
        tracing::warn!(
            object,
            field,
            wanted,
            found,
            "not as the topology files say; `adledger streams apply` would change it"
        );
    }
    Ok(())
}
