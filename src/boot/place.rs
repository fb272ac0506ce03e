use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

/// Where embedded servers live.
#[derive(Args)]
pub struct Place {
    /// Data folder of the embedded servers, used where NATS_URL or DATABASE_URL is not set
    #[arg(long, global = true, env = "ADLEDGER_DATA_DIR", default_value = ".adledger", value_name = "DIR")]
    data_dir: PathBuf,
}

impl Place {
    pub fn data_dir(&self) -> PathBuf {
        std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone())
    }

    fn demo_keys(&self) -> PathBuf {
        self.data_dir().join("demo-keys")
    }

    /// The key ring of a demo that ran in this folder. Such a folder is the stub's: its token is none of Meta's.
    pub fn demo_key_ring(&self) -> Option<SecretString> {
        let text = std::fs::read_to_string(self.demo_keys()).ok()?;
        Some(text.trim()).filter(|text| !text.is_empty()).map(|text| text.to_owned().into())
    }

    /// Makes this folder a demo's.
    pub fn make_demo(&self) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        if self.demo_key_ring().is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(self.data_dir())?;
        let keys = accounts::KeyRing::generate();
        let mut options = std::fs::OpenOptions::new();
        // Whole or not at all: half a key would open nothing.
        let unfinished = self.data_dir().join("demo-keys.new");
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(keys.expose_secret().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, self.demo_keys())
    }
}
