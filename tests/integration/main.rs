//! One binary for all integration tests, so that the crate is linked once.

mod event_months;
mod lock_desk;
mod mqtt_broker;
mod mqtt_client;
mod mqtt_crashes;
mod mqtt_detections;
mod mqtt_front;
mod mqtt_fuzz;
mod mqtt_hub;
mod mqtt_interop_v3;
mod mqtt_interop_v5;
mod mqtt_limits;
mod mqtt_lock;
mod mqtt_order;
mod ranks;
mod recorder;
mod recorder_retries;
mod rest_accounts;
mod rest_contract;
mod rest_events;
mod rest_faults;
mod rest_hub;
mod rest_realtime;
mod retention;
mod server;
mod toolchain;
