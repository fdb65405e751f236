//! `portcullis migrate`.

use super::data::Data;
use crate::config::DataOptions;

/// Brings the database's schema up to date.
///
/// # Errors
/// When there is no database, or its schema is newer than this version knows.
pub async fn run(options: &DataOptions) -> anyhow::Result<()> {
    // Opening the data is all: it migrates.
    let data = Data::visit(options).await?;
    println!("The schema is up to date.");
    data.close().await
}
