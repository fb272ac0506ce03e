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
}

/// The class of an error answer.
///
/// `status` is the HTTP status; the rest stands in the body's `error` object (`code`, `error_subcode`, `is_transient`,
/// `message`), where there is one. Code and subcode decide before the HTTP status does: a throttle is mostly HTTP 400,
/// and `type` is OAuthException for throttles too.
pub(crate) fn classify(
    status: u16,
    code: Option<i64>,
    subcode: Option<i64>,
    is_transient: bool,
    message: &str,
) -> Class {
    let reduce_data = message.to_ascii_lowercase().contains("reduce the amount of data");
    match (code, subcode) {
        (Some(4), _) => return Class::AppThrottle,
        // 613 without a subcode is used for abuse limits too: the waits are the same, but the run says it.
        (Some(17 | 613 | 80000 | 80003 | 80004 | 80014), _) => return Class::AccountThrottle,
        (Some(32 | 80001 | 80002 | 80005 | 80006 | 80008 | 80009), _) => return Class::OtherThrottle,

        (Some(100), Some(1_487_534 | 1_504_018)) => return Class::TooMuchData,
        (Some(2), Some(1_504_038)) | (Some(-3), Some(1_504_045)) => return Class::TooMuchData,
        (Some(1), _) if reduce_data => return Class::TooMuchData,

        (Some(190 | 102), _) => return Class::Token,
        (Some(10 | 200..=299), _) | (Some(100), Some(3_191_001)) => return Class::Permission,
        (Some(2), Some(1_504_041 | 1_504_042)) | (Some(3018 | 2635), _) => return Class::WrongRequest,
        _ => {}
    }
    if status == 429 {
        return Class::AccountThrottle;
    }
    // What is left of code 100 is wrong for ever, unless Meta itself says otherwise.
    match (code, subcode) {
        _ if is_transient => Class::Transient,
        (_, Some(99 | 341 | 960 | 1_815_107)) => Class::Transient,
        (Some(1 | 2 | 341 | 960 | 2601), _) | (Some(-2), Some(2_490_547)) => Class::Transient,
        (Some(100), _) => Class::WrongRequest,
        _ if status >= 500 || status == 408 => Class::Transient,
        (None, _) if status == 401 => Class::Token,
        (None, _) if status == 403 => Class::Permission,
        _ => Class::WrongRequest,
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
            (403, None, None, Permission),
            (400, Some(190), None, Token),
            (400, Some(190), Some(463), Token),
            (400, Some(190), Some(460), Token),
            (400, Some(190), Some(458), Token),
            (400, Some(190), Some(467), Token),
            (400, Some(190), Some(493), Token),
            (400, Some(102), None, Token),
            (401, None, None, Token),
        ];
        for &(status, code, subcode, class) in table {
            assert_eq!(classify(status, code, subcode, false, "x"), class, "HTTP {status} {code:?}/{subcode:?}");
        }
    }

    #[test]
    fn the_message_and_is_transient_decide_where_the_code_does_not() {
        let reduce = "Please reduce the amount of data you're asking for, then retry your request";
        assert_eq!(classify(500, Some(1), None, false, reduce), Class::TooMuchData);
        assert_eq!(classify(400, Some(100), None, true, ""), Class::Transient);
        assert_eq!(classify(400, Some(7777), None, true, ""), Class::Transient);
        assert_eq!(classify(400, Some(190), None, true, ""), Class::Token);
        assert_eq!(classify(400, Some(17), None, true, ""), Class::AccountThrottle);
    }
}
