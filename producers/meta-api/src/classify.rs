/// What an error answer of Meta's means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The whole app is throttled: every ad account that it reads must wait.
    AppThrottle,
    /// This ad account is throttled.
    AccountThrottle,
    /// Another throttle (page, business use case of another kind): treated as one of the ad account.
    OtherThrottle,
    /// The page is too large: ask for less, never for the same again.
    TooMuchData,
    /// Worth a few more tries.
    Transient,
    /// The request will be refused for ever.
    WrongRequest,
    /// The token is good, but may not read this.
    Permission,
    /// The token is bad: nothing works until somebody connects again.
    Token,
}

impl Class {
    pub fn is_throttle(self) -> bool {
        matches!(self, Class::AppThrottle | Class::AccountThrottle | Class::OtherThrottle)
    }

    /// What holds of the whole class, where no code says more.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Class::AppThrottle => "the whole Meta app is throttled, with all its ad accounts",
            Class::AccountThrottle => "the ad account is throttled",
            Class::OtherThrottle => "a limit of Meta's is reached",
            Class::TooMuchData => {
                "it is asked for in smaller parts, and where the smallest is refused too, ask for fewer fields or windows"
            }
            Class::Transient => "Meta or the way to it has a trouble that passes: it is asked again, by itself",
            Class::WrongRequest => "it would be refused again: look the code up in Meta's documents, and report it",
            Class::Permission => consent(None, None),
            Class::Token => renewal(None, None),
        }
    }
}

/// An error as it came; one of which nothing is known by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// The HTTP status; `None` where a report says what it failed of, which has none.
    pub status: Option<u16>,
    /// `code` of the body's `error`.
    pub code: Option<i64>,
    /// `error_subcode` of the same.
    pub subcode: Option<i64>,
    pub is_transient: bool,
    /// The whole body, or Meta's words alone.
    pub body: &'a str,
}

/// What an error means: its class, and who must do what, in words that follow a colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    pub class: Class,
    pub sentence: &'static str,
}

/// What an error answer means.
///
/// Code and subcode decide before the HTTP status does: a throttle is mostly HTTP 400, and `type` is OAuthException for
/// throttles too. Of the rest the status decides, and where there is no JSON it is all there is.
pub fn classify(said: &Said<'_>) -> Meaning {
    let (class, sentence) = by_code(said).unwrap_or_else(|| by_status(said));
    Meaning { class, sentence }
}

fn by_code(said: &Said<'_>) -> Option<(Class, &'static str)> {
    use Class::*;
    let reduces = || said.body.to_ascii_lowercase().contains("reduce the amount of data");
    Some(match (said.code?, said.subcode) {
        (4, _) => (AppThrottle, AppThrottle.sentence()),
        (17 | 80000 | 80003 | 80004 | 80014, _) | (613, Some(_)) => (AccountThrottle, AccountThrottle.sentence()),
        (613, None) => (
            AccountThrottle,
            "Meta does not say why, as for limits against abuse too (where this lasts, look into the Meta app's dashboard)",
        ),
        (32 | 80001 | 80002 | 80005 | 80006 | 80008 | 80009, _) => (OtherThrottle, OtherThrottle.sentence()),

        (100, Some(1_487_534 | 1_504_018)) | (2, Some(1_504_038)) | (-3, Some(1_504_045)) => {
            (TooMuchData, TooMuchData.sentence())
        }
        (1, _) if reduces() => (TooMuchData, TooMuchData.sentence()),

        (190 | 102, _) => (Token, renewal(said.code, said.subcode)),
        (10 | 200..=299, _) | (100, Some(3_191_001)) => (Permission, consent(said.code, said.subcode)),
        (2, Some(1_504_041)) => (WrongRequest, "these fields and windows do not go together: ask for others"),
        (2, Some(1_504_042)) => (WrongRequest, "such a combination of fields is not answered: ask for fewer of them"),
        (3018, _) => (WrongRequest, "Meta keeps 37 months, ask for a later day"),
        (2635, _) => (WrongRequest, "the version of the API has expired, set META_API_VERSION to a current one"),
        (100, Some(1_487_561)) => (WrongRequest, "a status in META_EFFECTIVE_STATUS is not one of Meta's, correct it"),
        (_, subcode) if is_unknown(said.code, subcode) => {
            (WrongRequest, "check the ad account's id, and that the token's user may see it")
        }
        _ => return None,
    })
}

/// What is left when no code is known by name.
fn by_status(said: &Said<'_>) -> (Class, &'static str) {
    use Class::*;
    if said.status == Some(429) {
        return (AccountThrottle, "there were too many requests");
    }
    let passes = Transient.sentence();
    match (said.code, said.subcode) {
        // What is left of code 100 is wrong for ever, unless Meta itself says otherwise.
        _ if said.is_transient => (Transient, passes),
        (_, Some(99 | 341 | 960)) | (Some(-2), Some(2_490_547)) => (Transient, passes),
        (_, Some(1_815_107)) => (Transient, "the report is not ready to be read yet: it is asked for again, by itself"),
        (Some(1 | 2 | 341 | 960 | 2601), _) => (Transient, passes),
        (Some(100), _) => {
            (WrongRequest, "it would be refused again, so correct the ad account's id, the fields or the windows first")
        }
        _ if said.status.is_some_and(|status| status >= 500 || status == 408) => (Transient, passes),
        // A page for people, or half an answer, with a status that says nothing: what stands in front of Meta is ill.
        (None, _) if said.status.is_some_and(|status| status < 300) => (Transient, passes),
        // Without Meta's error these are a proxy's words, and no reason to ask anybody for a new token.
        (None, _) if matches!(said.status, Some(401 | 403)) => (Transient, passes),
        (None, _) => (WrongRequest, "check META_API_BASE_URL"),
        _ => (WrongRequest, WrongRequest.sentence()),
    }
}

/// Whether Meta does not know, or no longer knows, what it was asked about.
pub(crate) fn is_unknown(code: Option<i64>, subcode: Option<i64>) -> bool {
    (code, subcode) == (Some(100), Some(33))
}

/// Who must do what about a token that is worth nothing any more.
fn renewal(code: Option<i64>, subcode: Option<i64>) -> &'static str {
    match (code, subcode) {
        (Some(190), Some(463)) => {
            "it has expired, and an expired one cannot be prolonged, so somebody with a role on the ad account must connect again \
             with a new token"
        }
        (Some(190), Some(460)) => {
            "the password of the person it belongs to was changed, which ends every token of theirs, so they must connect again \
             with a new token"
        }
        (Some(190), Some(458)) => {
            "the person it belongs to has removed the app from their Facebook account, so they must connect again with a new \
             token, and leave the app in"
        }
        (Some(190), Some(459 | 464)) => {
            "Facebook wants something confirmed by the person it belongs to, so they must sign in at facebook.com first, and then \
             connect again with a new token"
        }
        (Some(190), Some(493)) => {
            "the person it belongs to was not there for 90 days, which ends its access to data, so they must connect again with a \
             new token"
        }
        (Some(190), Some(467)) | (Some(102), _) => {
            "its session was ended, as by a logout, so somebody with a role on the ad account must connect again with a new token"
        }
        _ => "somebody with a role on the ad account must connect again with a new token",
    }
}

/// Who must do what about a token that is good and may not read this.
fn consent(code: Option<i64>, subcode: Option<i64>) -> &'static str {
    match (code, subcode) {
        (Some(100), Some(3_191_001)) | (Some(272..=275), _) => {
            "the person it belongs to has no role on the ad account, so an admin of the ad account must give them one in Meta's \
             Business settings, and then somebody must connect again"
        }
        (Some(10), _) => {
            "the person it belongs to must connect again and leave the permission ads_read on; if it stays so, an admin of the Meta \
             app must see that the app has access to the Marketing API"
        }
        _ => {
            "it needs the permission ads_read, which the person it belongs to grants by connecting again, and that person a role \
             on the ad account, which an admin of it gives in Meta's Business settings before they connect again"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_meta_errors() {
        use Class::*;
        let table: &[(u16, Option<i64>, Option<i64>, Class)] = &[
            (400, Some(4), None, AppThrottle),
            (403, Some(4), Some(1_504_022), AppThrottle),
            (400, Some(4), Some(1_504_039), AppThrottle),
            (400, Some(17), Some(2_446_079), AccountThrottle),
            (400, Some(17), None, AccountThrottle),
            (400, Some(613), Some(1_487_742), AccountThrottle),
            (400, Some(613), None, AccountThrottle),
            (429, Some(613), None, AccountThrottle),
            (400, Some(80000), None, AccountThrottle),
            (400, Some(80003), None, AccountThrottle),
            (400, Some(80004), None, AccountThrottle),
            (400, Some(80014), None, AccountThrottle),
            (429, None, None, AccountThrottle),
            (429, Some(2), None, AccountThrottle),
            (429, Some(4), None, AppThrottle),
            (429, Some(190), None, Token),
            (400, Some(32), None, OtherThrottle),
            (400, Some(80001), None, OtherThrottle),
            (400, Some(80002), None, OtherThrottle),
            (400, Some(80005), None, OtherThrottle),
            (400, Some(80006), None, OtherThrottle),
            (400, Some(80008), None, OtherThrottle),
            (400, Some(80009), None, OtherThrottle),
            (400, Some(100), Some(1_487_534), TooMuchData),
            (400, Some(100), Some(1_504_018), TooMuchData),
            (500, Some(2), Some(1_504_038), TooMuchData),
            (400, Some(-3), Some(1_504_045), TooMuchData),
            (500, Some(1), None, Transient),
            (400, Some(1), Some(99), Transient),
            (400, Some(2), None, Transient),
            (400, Some(2), Some(1_504_043), Transient),
            (400, Some(2), Some(1_504_044), Transient),
            (400, Some(-2), Some(2_490_547), Transient),
            (400, Some(2601), None, Transient),
            (400, Some(2601), Some(1_815_107), Transient),
            (400, Some(2637), Some(1_815_107), Transient),
            (400, Some(2637), None, WrongRequest),
            (400, Some(341), None, Transient),
            (400, Some(960), None, Transient),
            (502, None, None, Transient),
            (503, Some(7777), None, Transient),
            (400, Some(100), None, WrongRequest),
            (500, Some(100), None, WrongRequest),
            (400, Some(100), Some(1_487_561), WrongRequest),
            (400, Some(2), Some(1_504_041), WrongRequest),
            (400, Some(2), Some(1_504_042), WrongRequest),
            (400, Some(3018), None, WrongRequest),
            (400, Some(2635), None, WrongRequest),
            (400, Some(7777), None, WrongRequest),
            (404, None, None, WrongRequest),
            (302, None, None, WrongRequest),
            (400, Some(10), None, Permission),
            (403, Some(200), None, Permission),
            (403, Some(299), None, Permission),
            (400, Some(100), Some(3_191_001), Permission),
            (403, None, None, Transient),
            (400, Some(190), None, Token),
            (400, Some(190), Some(463), Token),
            (400, Some(190), Some(460), Token),
            (400, Some(190), Some(458), Token),
            (400, Some(190), Some(467), Token),
            (400, Some(190), Some(493), Token),
            (400, Some(102), None, Token),
            (401, None, None, Transient),
        ];
        for &(status, code, subcode, class) in table {
            let said = Said { status: Some(status), code, subcode, is_transient: false, body: "x" };
            let meaning = classify(&said);
            assert_eq!(meaning.class, class, "HTTP {status} {code:?}/{subcode:?}");
            assert!(meaning.sentence.len() > 20 && !meaning.sentence.ends_with('.'), "{meaning:?}");
        }
    }

    #[test]
    fn the_message_and_is_transient_decide_where_the_code_does_not() {
        let reduce = r#"{"error":{"message":"Please reduce the amount of data you're asking for, then retry"}}"#;
        for (status, code, is_transient, body, class) in [
            (500, Some(1), false, reduce, Class::TooMuchData),
            (500, Some(1), false, "An unknown error occurred", Class::Transient),
            (400, Some(100), true, "", Class::Transient),
            (400, Some(7777), true, "", Class::Transient),
            (400, Some(190), true, "", Class::Token),
            (400, Some(17), true, "", Class::AccountThrottle),
            (200, None, false, "<html>Sorry</html>", Class::Transient),
            (400, None, true, "{}", Class::Transient),
        ] {
            let said = Said { status: Some(status), code, subcode: None, is_transient, body };
            assert_eq!(classify(&said).class, class, "{said:?}");
        }
    }

    #[test]
    fn a_report_says_what_it_failed_of_without_a_status() {
        for (code, subcode, class) in [
            (Some(100), Some(1_487_534), Class::TooMuchData),
            (Some(190), None, Class::Token),
            (Some(2), None, Class::Transient),
            (Some(4), None, Class::AppThrottle),
        ] {
            let said = Said { status: None, code, subcode, is_transient: false, body: "" };
            assert_eq!(classify(&said).class, class, "{said:?}");
        }
    }

    #[test]
    fn sentences_say_who_must_do_what() {
        let sentence = |code, subcode| {
            classify(&Said { status: Some(400), code: Some(code), subcode, is_transient: false, body: "" }).sentence
        };
        for (code, subcode, said) in [
            (190, Some(463), "has expired"),
            (200, None, "ads_read"),
            (613, None, "limits against abuse"),
            (4, Some(1_504_022), "whole Meta app"),
            (3018, None, "37 months"),
            (2635, None, "META_API_VERSION"),
            (100, Some(1_487_561), "META_EFFECTIVE_STATUS"),
        ] {
            assert!(sentence(code, subcode).contains(said), "{code}/{subcode:?}: {}", sentence(code, subcode));
        }
    }
}
