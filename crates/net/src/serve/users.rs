//! `basic_auth_users`: bcrypt takes a tenth of a second on purpose, so results are remembered, and one
//! comparison runs at a time.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use model::Secret;
use parking_lot::Mutex;

/// Results remembered, as many as upstream.
const REMEMBERED_MAX: usize = 100;
/// Compared with where the user is unknown, so that the time taken does not tell which users exist. Any
/// valid hash of the usual cost will do.
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Remembers which credentials were right. Keys are keyed 128-bit hashes: no password stays in memory,
/// and nobody outside can make two collide.
#[derive(Debug, Default)]
pub(super) struct Users {
    keys: [RandomState; 2],
    known: Mutex<HashMap<[u64; 2], bool>>,
    comparing: tokio::sync::Mutex<()>,
}

impl Users {
    /// Whether the request's credentials are those of a user. Without users everyone is let in.
    pub(super) async fn admits(&self, headers: &HeaderMap, users: &BTreeMap<String, Secret>) -> bool {
        if users.is_empty() {
            return true;
        }
        let Some((user, password)) = credentials(headers) else { return false };
        let hash = users.get(&user).map(|h| h.expose().to_string());
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_string());
        let key = self.keys.each_ref().map(|k| k.hash_one((&user, &hash, &password)));
        if let Some(right) = self.known.lock().get(&key) {
            return *right && exists;
        }
        let _one_at_a_time = self.comparing.lock().await;
        if let Some(right) = self.known.lock().get(&key) {
            return *right && exists;
        }
        let compare = move || bcrypt::verify(password.as_slice(), &hash).unwrap_or(false);
        let right = tokio::task::spawn_blocking(compare).await.unwrap_or(false) && exists;
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX
            && let Some(any) = known.keys().next().copied()
        {
            known.remove(&any);
        }
        known.insert(key, right);
        right
    }
}

/// User and password of `Authorization: Basic …`.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let plain = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let colon = plain.iter().position(|b| *b == b':')?;
    let (user, password) = plain.split_at(colon);
    Some((String::from_utf8_lossy(user).into_owned(), password.get(1..)?.to_vec()))
}

/// Whether every hash is one, for the check of a web config.
pub(super) fn check(users: &BTreeMap<String, Secret>) -> Result<(), String> {
    for (user, hash) in users {
        hash.expose()
            .parse::<bcrypt::HashParts>()
            .map_err(|e| format!("basic_auth_users: the value of {user:?} is no bcrypt hash: {e}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> HeaderMap {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Basic {encoded}").parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn right_wrong_unknown_and_remembered() {
        let hash = bcrypt::hash("pw:with colon", 4).unwrap();
        let users = BTreeMap::from([("alice".to_string(), Secret::new(hash))]);
        let state = Users::default();
        for _ in 0..2 {
            assert!(state.admits(&request("alice:pw:with colon"), &users).await);
            assert!(!state.admits(&request("alice:pw"), &users).await);
            assert!(!state.admits(&request("bob:fakepassword"), &users).await);
        }
        assert!(!state.admits(&HeaderMap::new(), &users).await);
        assert!(state.admits(&HeaderMap::new(), &BTreeMap::new()).await);
        assert_eq!(state.known.lock().len(), 3);
        // Another hash for the same user: what was remembered does not count.
        let other = BTreeMap::from([("alice".to_string(), Secret::new(bcrypt::hash("new", 4).unwrap()))]);
        assert!(!state.admits(&request("alice:pw:with colon"), &other).await);
        assert!(check(&users).is_ok());
        assert!(check(&BTreeMap::from([("x".to_string(), Secret::new("plain"))])).is_err());
    }
}
