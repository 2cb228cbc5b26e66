//! Where a bearer token stands in a request: `Authorization`, or a WebSocket's subprotocol for browsers.
//!
//! Authority: RFC 6750, `k8s.io/apiserver/pkg/authentication/request/{bearertoken,websocket}`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token a request carries, if any; other schemes than Bearer are no credential here.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    from_authorization(headers).or_else(|| from_websocket(headers))
}

fn from_authorization(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.split(' ').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

fn from_websocket(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(UPGRADE)?.to_str().ok()?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut protocols =
        offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let encoded = protocols.find_map(|protocol| protocol.trim().strip_prefix(SUBPROTOCOL))?;
    String::from_utf8(ENGINE.decode(encoded).ok()?).ok()
}
