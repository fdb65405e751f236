//! The file that alerts are kept in from a stop to the next start: JSON, readable by the hub's user alone.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    camera::CameraId,
    event::{Details, EventType, Kind, Occurrence},
};

/// More bytes than as many alerts as may wait have: whatever is longer is none of ours.
const LONGEST: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Alert {
    description: String,
    at: DateTime<Utc>,
    key: Option<Uuid>,
    /// Alerts that an older version has kept have none.
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    subject_camera: Option<CameraId>,
}

/// Those that were kept; none where there is no file.
///
/// # Errors
/// When it cannot be read, or is none that [`write()`] has made.
pub(super) fn read(file: &Path) -> io::Result<Vec<Occurrence>> {
    let opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    opened.take(LONGEST).read_to_string(&mut text)?;
    let alerts: Vec<Alert> = serde_json::from_str(&text)?;
    let occurrence = |alert: Alert| {
        let details = Details { kind: alert.kind, subject_camera: alert.subject_camera, ..Details::default() };
        Occurrence { key: alert.key, details, ..Occurrence::new(EventType::SystemAlert, alert.description, alert.at) }
    };
    Ok(alerts.into_iter().map(occurrence).collect())
}

/// Puts these in the place of those that were kept before: all of them or none, whenever the power fails. With none the file
/// goes.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn write(file: &Path, alerts: &[Occurrence]) -> io::Result<()> {
    if alerts.is_empty() {
        return match fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
    }
    let alert = |alert: &Occurrence| Alert {
        description: alert.description.clone(),
        at: alert.at,
        key: alert.key,
        kind: alert.details.kind,
        subject_camera: alert.details.subject_camera,
    };
    let text = serde_json::to_vec(&alerts.iter().map(alert).collect::<Vec<_>>())?;
    let new = file.with_extension("new");
    let mut opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    opened.write_all(&text)?;
    opened.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_private_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("alerts");
        assert_eq!(read(&file).expect("none"), []);
        let alert = Occurrence::alert(Kind::DiskFull, "\"full\"".to_owned(), DateTime::UNIX_EPOCH);
        let alert = Occurrence { key: Some(Uuid::nil()), ..alert };
        write(&file, std::slice::from_ref(&alert)).expect("kept");
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!((read(&file).expect("kept"), mode & 0o777), (vec![alert], 0o600));
        fs::write(&file, r#"[{"description":"of an older version","at":"2026-11-22T10:00:00Z","key":null}]"#)
            .expect("kept");
        let older = read(&file).expect("kept");
        assert_eq!((older.len(), &older[0].details), (1, &Details::default()));
        write(&file, &[]).expect("none");
        assert!(!file.exists());
        fs::write(&file, "[{").expect("half of a file");
        assert!(read(&file).is_err());
    }
}
