//! Portcullis: a security hub for people who watch doors with cameras.
//!
//! AI engines report persons by MQTT or HTTP; the hub classifies each detection, stores it in Postgres, and shows it at
//! once on dashboards and to other devices. A lock worker drives the door relay.
//!
//! A module uses only modules of a lower rank, never its own: `docs/architecture.md` has the table, and a test
//! (`tests/integration/ranks.rs`) enforces it.

// Rank 0: values that can't be wrong and pure decisions; files that are whole; errors in words.
pub mod domain;
pub mod private_file;
pub mod said;
// Rank 1: formats, decisions about who may do what, settings, and the channels between workers.
pub mod archive;
pub mod auth;
pub mod config;
pub mod events;
pub mod lifecycle;
pub mod telemetry;
pub mod wire;
// Rank 2: the outside world, each part for itself.
pub mod gpio;
pub mod mqtt;
pub mod store;
// Rank 3: the workers.
pub mod camera_watch;
pub mod clock_watch;
pub mod database_opener;
pub mod health;
pub mod identities;
pub mod lock_agent;
pub mod lock_desk;
pub mod publisher;
pub mod recorder;
pub mod retention;
// Rank 4: what people and their programs talk to; what looks after the workers; the load generator.
pub mod bench;
pub mod bridge;
pub mod changes;
pub mod readiness;
// Rank 5: the command line.
pub mod commands;
