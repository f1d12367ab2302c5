//! Cancel requests: which upstream session a process id and secret stand for, and asking its server to cancel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wire::startup;

use super::upstream::{Address, Connector};

/// How long a cancel request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The server's side of a session that can be cancelled.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where its server is.
    pub address: Address,
    /// The server's process id.
    pub pid: i32,
    /// The server's secret.
    pub secret: Vec<u8>,
    /// Names the session in records.
    pub session: Arc<str>,
}

impl Target {
    /// Asks the server to cancel what the session runs.
    pub async fn cancel(&self, connector: &Connector) -> std::io::Result<()> {
        let send = async {
            let mut stream = connector.open(&self.address).await.map_err(std::io::Error::other)?;
            let mut packet = BytesMut::new();
            startup::write_cancel(&mut packet, self.pid, &self.secret);
            stream.write_all(&packet).await?;
            stream.flush().await?;
            // The server closes when it has taken the request.
            let _ = stream.read(&mut [0u8; 1]).await;
            Ok(())
        };
        tokio::time::timeout(TIMEOUT, send).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

type Key = (i32, Vec<u8>);

/// Every session that can be cancelled, by the key its client was given.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<HashMap<Key, Target>>>);

/// Takes its session out of the registry when it is dropped.
#[derive(Debug)]
pub struct Entry {
    registry: Registry,
    key: Key,
}

impl Registry {
    /// Enters a session under the server's own process id (clients show it and cancel by it in SQL) and a fresh secret.
    pub fn enter(&self, target: Target, secret_bytes: usize) -> Option<Entry> {
        let mut secret = vec![0u8; secret_bytes];
        SystemRandom::new().fill(&mut secret).ok()?;
        let key = (target.pid, secret);
        self.lock().insert(key.clone(), target);
        Some(Entry { registry: self.clone(), key })
    }

    /// The session that a client's key stands for.
    pub fn find(&self, pid: i32, secret: &[u8]) -> Option<Target> {
        self.lock().get(&(pid, secret.to_vec())).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The key for the client's BackendKeyData.
    pub fn key(&self) -> (i32, &[u8]) {
        (self.key.0, &self.key.1)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.key);
    }
}
