use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

/// Where "today" comes from. It is handed in, so that a later day can be tried today.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    System,
    Fixed(DateTime<Utc>),
}

impl Clock {
    pub fn now(self) -> DateTime<Utc> {
        match self {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the clock for the planning of days"
            )]
            Clock::System => Utc::now(),
            Clock::Fixed(at) => at,
        }
    }

    /// The date in a time zone.
    pub fn today(self, zone: Tz) -> NaiveDate {
        self.now().with_timezone(&zone).date_naive()
    }
}
