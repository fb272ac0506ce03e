//! The newest version of each day, in a file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The part of the event's data that this program uses. What it does not know it passes over.
#[derive(Deserialize)]
pub struct Change {
    account_id: String,
    date: String,
    version: u64,
    cause: String,
    old: Option<Value>,
    new: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spend = |values: &Option<Value>| match values.as_ref().map(|values| &values["meta_spend"]) {
            Some(Value::String(spend)) => spend.clone(),
            _ => "nothing".to_owned(),
        };
        let Change { account_id, date, version, cause, old, new } = self;
        let (old, new) = (spend(old), spend(new));
        write!(f, "{account_id} {date} version {version} ({cause}): spend {old} -> {new}")
    }
}

/// The newest version of each tenant's day, in a file that is replaced whole.
pub struct Days {
    path: PathBuf,
    days: BTreeMap<String, Day>,
}

#[derive(Serialize, Deserialize)]
struct Day {
    version: u64,
    now: Option<Value>,
}

impl Days {
    pub fn open(path: &Path) -> Result<Days> {
        let days = match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Days { path: path.to_owned(), days })
    }

    /// Takes a change over, unless this or a newer one was taken before: events come twice, and out of order.
    pub fn apply(&mut self, change: &Change) -> bool {
        let key = format!("{} {}", change.account_id, change.date);
        if self.days.get(&key).is_some_and(|day| day.version >= change.version) {
            return false;
        }
        self.days.insert(key, Day { version: change.version, now: change.new.clone() });
        true
    }

    /// The file is the old one or the new one, also where the power fails in between.
    pub fn save(&self) -> Result<()> {
        let written = self.path.with_added_extension("new");
        let mut file = File::create(&written)?;
        file.write_all(&serde_json::to_vec_pretty(&self.days)?)?;
        file.sync_all()?;
        std::fs::rename(&written, &self.path)?;
        // The new name is on the disk only once its folder is.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?)
    }
}
