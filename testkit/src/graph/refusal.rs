use axum::http::StatusCode;

/// An error as Meta words it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: i64,
    pub(super) subcode: Option<i64>,
    pub(super) message: String,
    /// The error says of itself that it goes away.
    pub(super) is_transient: bool,
}

impl Refusal {
    pub(super) fn new(status: u16, code: i64, subcode: Option<i64>, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal { status, code, subcode, message: message.into(), is_transient: false }
    }

    pub(super) fn parameter(what: &str) -> Self {
        Refusal::new(400, 100, None, format!("(#100) {what}"))
    }

    pub(super) fn unknown_status(status: &str) -> Self {
        let message = format!("(#100) Invalid filtering value: {status} is no value of ad.effective_status");
        Refusal::new(400, 100, Some(1_487_561), message)
    }

    pub(super) fn too_old() -> Self {
        let message = "(#3018) The start date of the time range cannot be beyond 37 months from the current date";
        Refusal::new(400, 3018, None, message)
    }

    /// Meta quotes the token, in plain text.
    pub(super) fn invalid_token(token: &str) -> Self {
        Refusal::new(400, 190, Some(467), format!("Error validating access token: {token}"))
    }

    /// Expired, revoked, …
    pub(super) fn unusable_token(subcode: i64, what: &str) -> Self {
        Refusal::new(400, 190, Some(subcode), what)
    }

    pub(super) fn no_token() -> Self {
        Refusal::new(400, 104, None, "An access token is required to request this resource.")
    }

    pub(super) fn no_permission(external_id: &str) -> Self {
        let message =
            format!("(#200) Ad account owner has NOT grant ads_management or ads_read permission: {external_id}");
        Refusal::new(403, 200, None, message)
    }

    pub(super) fn unknown_object(id: &str) -> Self {
        let message = format!(
            "Unsupported get request. Object with ID '{id}' does not exist, cannot be loaded due to missing \
             permissions, or does not support this operation."
        );
        Refusal::new(400, 100, Some(33), message)
    }

    pub(super) fn expired_version(version: &str) -> Self {
        let message = format!("(#2635) You are calling a deprecated version of the Ads API: {version}");
        Refusal::new(400, 2635, None, message)
    }

    pub(super) fn is_throttle(&self) -> bool {
        let is_code = matches!(self.code, 4 | 17 | 32 | 613 | 80_000..=80_006 | 80_008 | 80_009 | 80_014);
        is_code || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The body. The type is OAuthException whatever happened.
    pub(super) fn body(&self, trace_id: &str) -> String {
        let mut error = serde_json::json!({
            "message": self.message,
            "type": "OAuthException",
            "code": self.code,
            "fbtrace_id": trace_id,
        });
        if self.is_transient {
            error["is_transient"] = true.into();
        }
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = subcode.into();
        }
        serde_json::json!({ "error": error }).to_string()
    }
}
