//! What every answer says to a browser, and which requests are turned away before anybody looks at them.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::settings::is_loopback;
use crate::web::Web;

/// Scripts, styles and everything else come from here and from nowhere else; nothing stands inside a page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Puts the headers on that keep a browser from doing what no page of ours asks for. What a handler has said itself
/// stays.
pub(crate) async fn headers(State(web): State<Web>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    say(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::X_FRAME_OPTIONS, "DENY");
    say(header::REFERRER_POLICY, "same-origin");
    say(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    say(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    say(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=()");
    say(header::CACHE_CONTROL, "no-store");
    if web.settings.base_url().starts_with("https://") {
        say(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}

/// Turns away what a page of another site sends with this browser's cookies, and, where no password is asked for,
/// whoever came by another name than this machine's: a name that an attacker lets point here.
pub(crate) async fn same_site(State(web): State<Web>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if web.settings.admin_password_hash.is_none() && !is_loopback(without_port(host)) {
        return Problem::forbidden(
            "this service was asked under a name that is not this machine's: open it at its loopback address, or set \
             ADLEDGER_PUBLIC_URL and ADLEDGER_ADMIN_PASSWORD_HASH",
        )
        .into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && is_from_elsewhere(request.headers(), host, &web.settings.base_url())
    {
        return Problem::forbidden("the request comes from a page of another site").into_response();
    }
    next.run(request).await
}

/// By what the browser itself says; who says nothing is no browser, and has no cookies that anybody could misuse.
fn is_from_elsewhere(headers: &HeaderMap, host: &str, base_url: &str) -> bool {
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = said("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = said("origin") else { return false };
    let authority =
        |url: &str| url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest).to_owned());
    let from = authority(origin);
    from.as_deref() != Some(host) && from != authority(base_url)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_known_by_what_the_browser_says() {
        let (host, base) = ("ads.example.com", "https://ads.example.com");
        for (named, value, is_other) in [
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
            ("origin", "https://ads.example.com", false),
            ("origin", "https://evil.example.com", true),
            ("origin", "https://ads.example.com.evil.example", true),
            ("origin", "null", true),
            ("x-nothing", "", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(named, HeaderValue::from_static(value));
            assert_eq!(is_from_elsewhere(&headers, host, base), is_other, "{named}: {value}");
        }
    }

    #[test]
    fn a_host_is_looked_at_without_its_port() {
        for (host, name) in [("localhost:80", "localhost"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a.b", "a.b")] {
            assert_eq!(without_port(host), name);
        }
    }
}
