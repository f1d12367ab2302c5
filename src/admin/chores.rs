//! What the admin side does without being asked: logins end, searches are recorded once they were typed to their end, the inbox
//! follows the log, grants end, and endpoints are asked while somebody looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::State;
use super::access::{Actor, Way};
use super::reviewer::Reviewer;
use crate::config::ConsoleRole;

/// How often.
const ROUND: Duration = Duration::from_secs(1);
/// How often grants are looked at. They end by themselves at the moment; this is when it is recorded.
const GRANT_ROUND: Duration = Duration::from_millis(250);
/// Rounds between two looks at the endpoints.
const ENDPOINT_ROUNDS: u32 = 15;
/// Rounds between two looks at the log for the inbox.
const INBOX_ROUNDS: u32 = 2;
/// A search that has not changed for this long was typed to its end.
const REST: Duration = Duration::from_secs(3);

/// Goes round until it is stopped.
pub(super) async fn run(state: State) {
    let mut reviewer = Reviewer::default();
    for round in 0u32.. {
        for (user, filter) in state.people.rested(REST, Instant::now()) {
            let actor = Actor { name: user, role: ConsoleRole::Viewer, way: Way::Console };
            state.looks(&actor, "audit.search", Some(filter));
        }
        if round.is_multiple_of(INBOX_ROUNDS) {
            reviewer = follow(&state, reviewer).await;
        }
        if round == 0 || (round.is_multiple_of(ENDPOINT_ROUNDS) && state.people.count() > 0) {
            state.known.keep(state.endpoints().await);
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Reads the grants of the time before the start, and then keeps what is in force in step with the clock and the configuration.
pub(super) async fn keep_grants(state: State) {
    let through = state.shared.audit.health().sequence;
    loop {
        let own = state.clone();
        let restored = tokio::task::spawn_blocking(move || own.restore_grants(through));
        match restored.await {
            Ok(Ok(true)) => break,
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the grants of the time before the start are not read yet"),
        }
        tokio::time::sleep(GRANT_ROUND).await;
    }
    loop {
        let own = state.clone();
        let _ = tokio::task::spawn_blocking(move || own.keep_grants()).await;
        tokio::time::sleep(GRANT_ROUND).await;
    }
}

async fn follow(state: &State, mut reviewer: Reviewer) -> Reviewer {
    let (config, generation) = (state.shared.door.config(), state.shared.door.generation());
    let round = move |state: &State| {
        if let Err(error) = reviewer.round(&Arc::clone(&state.inbox), state.index(), &config.reviews, generation) {
            tracing::warn!(%error, "the review inbox does not follow the log");
        }
        reviewer
    };
    state.ask(round).await.unwrap_or_default()
}
