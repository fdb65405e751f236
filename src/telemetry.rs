//! What the hub says of itself: its log, and its metrics for Prometheus.
//!
//! Must not know what is logged or counted by whom. The log's subscriber is the one static state of the process.

mod errors;
mod exposition;
pub mod log;
pub mod metrics;
mod process;
pub mod rate;
pub mod reading;
