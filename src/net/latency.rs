//! How long a client's bytes stay in the proxy before they are with the server: the added latency, sampled.

use std::time::Instant;

/// One round in this many is measured: reading the clock costs about as much as judging a known statement.
const EVERY: u8 = 16;

/// A session's samples.
pub struct Latency {
    rounds: u8,
    heard: Option<Instant>,
    histogram: metrics::Histogram,
}

impl Latency {
    /// A session's samples, counted with all others.
    pub fn new() -> Latency {
        Latency { rounds: 0, heard: None, histogram: metrics::histogram!("pgwarden_added_latency_seconds") }
    }

    /// The client's bytes were read.
    pub fn heard(&mut self) {
        self.heard = (self.rounds == 0).then(Instant::now);
        self.rounds = (self.rounds + 1) % EVERY;
    }

    /// Everything there was for the server is written.
    pub fn sent(&mut self) {
        if let Some(heard) = self.heard.take() {
            self.histogram.record(heard.elapsed().as_secs_f64());
        }
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::new()
    }
}
