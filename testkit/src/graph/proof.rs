//! `appsecret_proof`: a caller shows that it has the app's secret, without sending it.

use sha2::{Digest as _, Sha256};

use super::pages::Turn;
use super::refusal::Refusal;
use super::world::World;

/// The proof for a token of an app.
pub fn appsecret_proof(app_secret: &str, token: &str) -> String {
    hmac_sha256(app_secret.as_bytes(), token.as_bytes())
}

/// RFC 2104, in hexadecimal.
fn hmac_sha256(secret: &[u8], message: &[u8]) -> String {
    const BLOCK: usize = 64;
    let mut key = [0u8; BLOCK];
    if secret.len() > BLOCK {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let digest =
        |pad: u8, text: &[u8]| Sha256::new().chain_update(key.map(|byte| byte ^ pad)).chain_update(text).finalize();
    let proof = digest(0x5c, &digest(0x36, message));
    proof.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the question may be answered: a proof that is sent must be right, and some apps require one.
pub(super) fn check(world: &World, turn: &Turn<'_>) -> Result<(), Refusal> {
    let Turn { question, token, .. } = turn;
    // An app's own token is its id and its secret.
    let of_app = token.split_once('|').map(|(app_id, _)| app_id).filter(|_| !world.tokens.contains_key(*token));
    let app_id = of_app.or_else(|| world.tokens.get(*token)?.app_id.as_deref());
    let app = app_id.and_then(|app_id| world.apps.get(app_id));
    match (question.parameter("appsecret_proof"), app) {
        (None, Some(app)) if app.require_proof && of_app.is_none() => {
            Err(Refusal::parameter("API calls from the server require an appsecret_proof argument"))
        }
        (None, _) => Ok(()),
        (Some(proof), Some(app)) if proof == appsecret_proof(&app.secret, token) => Ok(()),
        (Some(_), _) => Err(Refusal::new(400, 100, None, "Invalid appsecret_proof provided in the API argument")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::asking::{self, ACCOUNT, TOKEN};
    use super::*;

    #[test]
    fn the_proofs_of_the_standards_examples() {
        // RFC 4231, test cases 2 and 6.
        for (key, message, proof) in [
            (
                b"Jefe".as_slice(),
                b"what do ya want for nothing?".as_slice(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hmac_sha256(key, message), proof);
        }
    }

    #[tokio::test]
    async fn a_proof_that_is_sent_is_right_and_some_apps_require_one() {
        let right = appsecret_proof("s3cret", TOKEN);
        for (app_id, require_proof, proof, wanted) in [
            (Some("1"), false, None, None),
            (Some("1"), false, Some(right.as_str()), None),
            (Some("1"), false, Some("wrong"), Some("Invalid appsecret_proof provided in the API argument")),
            (Some("1"), true, Some(&right), None),
            (Some("1"), true, None, Some("(#100) API calls from the server require an appsecret_proof argument")),
            (Some("2"), true, Some(&right), Some("Invalid appsecret_proof provided in the API argument")),
            (None, true, None, None),
            (None, false, Some(&right), Some("Invalid appsecret_proof provided in the API argument")),
        ] {
            let graph = asking::graph(3, 1, |world| {
                world.insert_app("1", "s3cret", &[]);
                world.insert_app("2", "another secret", &[]);
                world.apps.values_mut().for_each(|app| app.require_proof = require_proof);
                world.token(TOKEN).app_id = app_id.map(str::to_owned);
            })
            .await;
            let proof = proof.map(|proof| ("appsecret_proof", proof.to_owned()));
            let with =
                |parameters: &[(&'static str, String)]| [parameters.to_vec(), proof.iter().cloned().collect()].concat();
            let insights = format!("{ACCOUNT}/insights");
            for answer in [
                graph.get(&insights, &with(&asking::ads(1, 10))).await,
                graph.post(&insights, &with(&asking::ads(1, 10))).await,
                graph.get(ACCOUNT, &with(&[])).await,
                graph.get("me", &with(&[])).await,
                graph.get("me/adaccounts", &with(&[])).await,
                graph.get("me/permissions", &with(&[])).await,
            ] {
                let message = answer.json()["error"]["message"].as_str().map(str::to_owned);
                assert_eq!(message.as_deref(), wanted, "{app_id:?} {require_proof} {proof:?}");
                assert_eq!(answer.status, if wanted.is_some() { 400 } else { 200 });
            }
        }
    }
}
