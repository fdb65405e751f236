//! `portcullis device …`: devices and their secrets, on the database that `serve` uses, also while it runs.

use anyhow::{Context as _, bail};
use clap::{Args, CommandFactory as _, Subcommand, error::ErrorKind};
use serde::Serialize;

use super::{CommandLine, data::Data};
use crate::{
    auth::{
        device_token,
        identity::Identity,
        rights::{Action, Rights},
        secret,
    },
    config::DataOptions,
    domain::{
        camera::CameraId,
        device::{Device, DeviceName, DeviceRole},
    },
    mqtt,
    store::{self, devices},
};

/// Devices and their secrets.
#[derive(Debug, Args)]
pub struct DeviceCommand {
    #[command(flatten)]
    data: DataOptions,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Adds a device and prints its secret, this once.
    Add {
        /// 1 to 64 letters, digits, _, . or -.
        name: DeviceName,
        /// camera, ai-engine, lock-agent, sensor or controller.
        #[arg(long)]
        role: DeviceRole,
        /// The id of the camera that a device of role camera reports for.
        #[arg(long)]
        camera: Option<CameraId>,
        /// Print JSON and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Lists the devices.
    List {
        /// Print JSON and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Removes a device and ends its sessions.
    Remove { name: DeviceName },
    /// Gives a device a new secret, prints it, this once, and ends the sessions of the old one.
    Rotate {
        name: DeviceName,
        /// Print JSON and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Says whether a device may do something, and which rule decides.
    Explain {
        name: DeviceName,
        /// publish or subscribe.
        action: Action,
        /// The topic, or for subscribe a filter.
        topic: String,
        /// The broker's configuration, with its [[rights]].
        #[arg(long, env, default_value = "./broker.toml", value_name = "FILE")]
        broker_config: std::path::PathBuf,
    },
}

impl Verb {
    /// What can be told to be wrong by the command line alone.
    fn check(&self) -> Result<(), clap::Error> {
        let Self::Add { role, camera, .. } = self else { return Ok(()) };
        let (kind, words) = match (*role == DeviceRole::Camera, camera) {
            (true, None) => (ErrorKind::MissingRequiredArgument, "a device of role camera needs --camera ID"),
            (false, Some(_)) => (ErrorKind::ArgumentConflict, "only a device of role camera takes --camera"),
            _ => return Ok(()),
        };
        Err(CommandLine::command().error(kind, words))
    }
}

/// What a device needs to sign in.
#[derive(Debug, Serialize)]
struct Credentials<'a> {
    name: &'a str,
    /// For MQTT.
    username: &'a str,
    /// For MQTT.
    password: &'a str,
    /// For HTTP, as `Authorization: Bearer`.
    token: String,
}

/// # Errors
/// When the database is away, or the request makes no sense; the text says what to do.
pub async fn run(command: DeviceCommand) -> anyhow::Result<()> {
    command.verb.check()?;
    let data = Data::visit(&command.data).await?;
    let done = act(&data, command.verb).await;
    data.close().await?;
    done
}

async fn act(data: &Data, verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Add { name, role, camera, json } => add(data, &name, role, camera, json).await,
        Verb::List { json } => list(data, json).await,
        Verb::Remove { name } => {
            let device = find(data, &name).await?;
            devices::remove(&data.database, device.id).await?;
            println!("Removed {name}; its sessions end within a second.");
            Ok(())
        }
        Verb::Rotate { name, json } => {
            let (device, secret) = (find(data, &name).await?, secret::generate());
            devices::rotate(&data.database, device.id, &secret::hash(&secret)).await?;
            print_credentials(&name, &secret, json)
        }
        Verb::Explain { name, action, topic, broker_config } => {
            let who = Identity::Device(find(data, &name).await?.into());
            let rights = Rights::new(mqtt::Settings::read(&broker_config)?.rights);
            let decision = rights.explain(&who, action, &topic);
            println!("{}: {}", if decision.allowed { "allowed" } else { "refused" }, decision.rule);
            Ok(())
        }
    }
}

async fn add(
    data: &Data,
    name: &DeviceName,
    role: DeviceRole,
    camera: Option<CameraId>,
    json: bool,
) -> anyhow::Result<()> {
    if let Some(user) = store::users::called_like(&data.database, name.as_str()).await? {
        bail!("a user is called {user}: give the device another name");
    }
    if let Some(other) = devices::called_like(&data.database, name.as_str()).await? {
        bail!("there is a device {other} already");
    }
    let secret = secret::generate();
    match devices::add(&data.database, name, role, camera, &secret::hash(&secret)).await {
        Ok(_) => print_credentials(name, &secret, json),
        Err(error) if store::is_taken(&error) => bail!("there is a device {name} already"),
        Err(error) if store::is_about_a_reference(&error) => {
            bail!("there is no camera {}", camera.map_or_else(String::new, |id| id.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn find(data: &Data, name: &DeviceName) -> anyhow::Result<Device> {
    let found = devices::by_name(&data.database, name).await?;
    found.map(|(device, _)| device).with_context(|| format!("there is no device {name}"))
}

async fn list(data: &Data, json: bool) -> anyhow::Result<()> {
    let devices = devices::list(&data.database).await?;
    if json {
        let rows: Vec<_> = devices
            .iter()
            .map(|device| {
                serde_json::json!({
                    "id": device.id, "name": device.name, "role": device.role, "cameraId": device.camera_id,
                    "createdAt": crate::wire::time::text(device.created_at),
                    "lastSeen": device.last_seen.map(crate::wire::time::text),
                })
            })
            .collect();
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    println!("{:<24} {:<11} {:>6}  LAST SEEN", "NAME", "ROLE", "CAMERA");
    for device in devices {
        let camera = device.camera_id.map_or_else(String::new, |id| id.to_string());
        let seen = device.last_seen.map_or_else(|| "never".to_owned(), crate::wire::time::text);
        println!("{:<24} {:<11} {camera:>6}  {seen}", device.name.as_str(), device.role.to_string());
    }
    Ok(())
}

fn print_credentials(name: &DeviceName, secret: &str, json: bool) -> anyhow::Result<()> {
    let name_text = name.as_str();
    let credentials = Credentials {
        name: name_text,
        username: name_text,
        password: secret,
        token: device_token::format(name, secret),
    };
    if !json {
        eprintln!("The secret of {name}, shown this once: username and password for MQTT, token for HTTP.");
    }
    println!("{}", serde_json::to_string(&credentials)?);
    Ok(())
}
