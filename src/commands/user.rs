//! `portcullis user …`: accounts, on the database that `serve` uses, also while it runs.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use super::data::Data;
use crate::{
    auth::{password, secret},
    config::DataOptions,
    domain::{name, user::Role},
    store::{self, users},
    wire::{account::CreateUser, validation},
};

/// The shortest password that an account can have, as everywhere (CONTRACT: ≥ 8 and no further rule).
const PASSWORD_MIN: usize = 8;

/// Accounts of people.
#[derive(Debug, Args)]
pub struct UserCommand {
    #[command(flatten)]
    data: DataOptions,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Adds a user. The password is read from standard input, or generated and printed when that is a terminal or empty.
    Add {
        /// At least 3 characters.
        name: String,
        #[arg(long)]
        email: String,
        /// USER, OPERATOR or ADMIN.
        #[arg(long)]
        role: Role,
    },
    /// Gives a user a new password, read like that of `add`, and ends their sessions.
    SetPassword { name: String },
}

/// # Errors
/// When the database is away, or the request makes no sense; the text says what to do.
pub async fn run(command: UserCommand) -> anyhow::Result<()> {
    let password = Password::read()?;
    let data = Data::visit(&command.data).await?;
    let done = act(&data, command.verb, &password).await;
    data.close().await?;
    done?;
    if password.generated {
        println!("Password: {}", password.text);
    }
    Ok(())
}

async fn act(data: &Data, verb: Verb, password: &Password) -> anyhow::Result<()> {
    let hash = password::hash(&password.text)?;
    match verb {
        Verb::Add { name, email, role } => {
            check(&name, &email, role, &password.text)?;
            if let Some(device) = store::devices::called_like(&data.database, &name).await? {
                bail!("a device is called {device}: give the user another name");
            }
            if let Some(other) = users::called_like(&data.database, &name).await?.filter(|other| *other != name) {
                bail!("{other} reads like {name}: give the user another name");
            }
            let user = users::NewUser {
                username: &name,
                email: &email,
                password_hash: &hash,
                first_name: None,
                last_name: None,
                role,
            };
            match users::create(&data.database, &user).await {
                Ok(user) => println!("Added {name} (user {}, {role}).", user.id),
                Err(error) if store::is_taken(&error) => bail!("User with this email or username already exists"),
                Err(error) => return Err(error.into()),
            }
        }
        Verb::SetPassword { name } => {
            let found = users::set_password(&data.database, &name, &hash).await?;
            found.with_context(|| format!("there is no user {name}"))?;
            println!("{name} has a new password; sessions end within a second.");
        }
    }
    Ok(())
}

/// Whether an account may be made so, by the rules of POST /api/users.
fn check(name: &str, email: &str, role: Role, password: &str) -> anyhow::Result<()> {
    let body = serde_json::json!({"username": name, "email": email, "role": role, "password": password});
    validation::read::<CreateUser>(&serde_json::to_vec(&body)?)?;
    name::fault(name).map_or(Ok(()), |fault| bail!(fault))
}

struct Password {
    text: String,
    generated: bool,
}

impl Password {
    fn read() -> anyhow::Result<Self> {
        let mut text = String::new();
        let mut input = std::io::stdin();
        if !input.is_terminal() {
            // More than any password has; the rest would only fill memory.
            input
                .by_ref()
                .take(4096)
                .read_to_string(&mut text)
                .context("the password on standard input is not UTF-8")?;
        }
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Ok(Self { text: secret::generate_password(), generated: true });
        }
        if text.chars().count() < PASSWORD_MIN {
            bail!("password must be longer than or equal to {PASSWORD_MIN} characters");
        }
        Ok(Self { text: text.to_owned(), generated: false })
    }
}
