//! The page within the dashboard that plays one camera's live view.
//!
//! Pictures and sound come from the camera's own server, to which no page may talk by the dashboard's policy. So they are
//! played in a frame, whose policy names the servers of this one camera and nothing else. The policy tells where a camera
//! is: hence nobody gets the page without a token. A frame's address can bring no `Authorization`, so the dashboard sends
//! the token as a form does.

use axum::{
    body::Bytes,
    extract::State,
    http::{Extensions, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use url::{Url, form_urlencoded};

use super::{BUILT, content};
use crate::{
    bridge::{cameras, error::ApiError, who},
    domain::camera::{Camera, CameraId},
    identities::Identities,
    store::{self, Database},
};

/// The page, the same for each camera.
const PAGE: &str = "live-view.html";

/// The page for the `camera` of the form, for whom its `token` belongs to.
pub(super) async fn page(
    State(identities): State<Identities>,
    State(database): State<Database>,
    extensions: Extensions,
    form: Bytes,
) -> Result<Response, ApiError> {
    let token = field(&form, "token").ok_or_else(ApiError::unauthorized)?;
    let user = identities.by_user_token(&token).await?.ok_or_else(ApiError::unauthorized)?;
    who::recognise(&extensions, user.standing());
    let id = field(&form, "camera").unwrap_or_default();
    let unknown = || cameras::unknown(&id);
    let number: CameraId = id.parse().map_err(|_| unknown())?;
    let camera = store::cameras::by_id(&database, number).await?.ok_or_else(unknown)?;
    let Some(file) = BUILT.get_file(PAGE) else {
        return Err(ApiError::internal(format_args!("the dashboard was built without {PAGE}")));
    };
    let policy = HeaderValue::try_from(policy(&camera)).map_err(ApiError::internal)?;
    let headers =
        [(header::CONTENT_SECURITY_POLICY, policy), (header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"))];
    Ok((headers, content(file)).into_response())
}

/// A field of a form, the first of that name.
fn field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// What the frame may do: run the hub's own script, ask the server of the camera's `webrtcUrl`, show what that of its
/// `streamUrl` sends.
fn policy(camera: &Camera) -> String {
    let webrtc = camera.webrtc_url.as_deref().and_then(server).unwrap_or_else(|| "'none'".to_owned());
    let stream = camera.stream_url.as_deref().and_then(server).unwrap_or_else(|| "'none'".to_owned());
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src {webrtc}; img-src {stream}; \
         media-src {stream}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// Scheme, host and port of a URL, as a policy names them; `None` for one that no browser loads, and for a bare IPv6
/// address, which policies have no word for.
fn server(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let is_loaded =
        matches!(url.scheme(), "http" | "https") && matches!(url.host()?, url::Host::Domain(_) | url::Host::Ipv4(_));
    // What a policy would take for its own punctuation is in no name of a host.
    let origin = url.origin().ascii_serialization();
    (is_loaded && !origin.contains([';', ',', ' ', '\'', '*'])).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_server_and_nothing_else_of_a_url() {
        assert_eq!(server("http://cam:8889/front/whep?token=secret").as_deref(), Some("http://cam:8889"));
        assert_eq!(server("HTTPS://admin:pw@Cam.Example/x#y").as_deref(), Some("https://cam.example"));
        assert_eq!(server("http://192.168.1.20:80/mjpeg").as_deref(), Some("http://192.168.1.20"));
        assert_eq!(server("http://türe.example/").as_deref(), Some("http://xn--tre-goa.example"));
    }

    #[test]
    fn what_no_browser_loads_and_what_would_widen_a_policy_is_in_none() {
        for url in [
            "rtsp://cam/1",
            "ws://cam/",
            "webrtc://cam/",
            "http://[fe80::1]/",
            "http://*/",
            "http://*.example/",
            "nonsense",
            "",
            "http://",
            "http://cam;script-src *",
            "http://cam 'unsafe-inline'",
            "http://admin:2024#pw@cam/",
        ] {
            assert_eq!(server(url), None, "{url}");
        }
    }

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        assert_eq!(field(b"token=a%2Bb+c&camera=4&camera=5", "camera").as_deref(), Some("4"));
        assert_eq!(field(b"token=a%2Bb+c&camera=4", "token").as_deref(), Some("a+b c"));
        assert_eq!(field(b"\xff\xfe", "token"), None);
    }
}
