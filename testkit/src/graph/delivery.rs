use std::ops::AddAssign;

use rust_decimal::Decimal;

/// What one ad did on one day.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub spend: Decimal,
    pub impressions: u64,
    /// People; at most the impressions. Meta's is no sum, and neither is the one of a day's total here.
    pub reach: u64,
    pub clicks: u64,
    pub link_clicks: u64,
    pub purchases: Purchases,
}

/// Purchases by attribution window. Click windows nest: a purchase within one day of a click is in all three of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Purchases {
    pub click_1d: Sales,
    pub click_7d: Sales,
    pub click_28d: Sales,
    pub view_1d: Sales,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sales {
    pub count: u64,
    pub value: Decimal,
}

impl Delivery {
    /// Whether Meta has a row for it.
    pub fn has_row(&self) -> bool {
        *self != Delivery::default()
    }
}

impl Purchases {
    /// What Meta puts under `value`: seven days after a click, or one day after a view.
    pub fn unified(&self) -> Sales {
        let mut sales = self.click_7d;
        sales += self.view_1d;
        sales
    }

    /// The purchases of a window that was asked for; `None` for a window that this fake has nothing about.
    pub fn within(&self, window: &str) -> Option<Sales> {
        match window {
            "1d_click" => Some(self.click_1d),
            "7d_click" => Some(self.click_7d),
            "28d_click" => Some(self.click_28d),
            "1d_view" => Some(self.view_1d),
            "default" => Some(self.unified()),
            _ => None,
        }
    }
}

impl AddAssign for Sales {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.value += other.value;
    }
}

impl AddAssign<&Delivery> for Delivery {
    fn add_assign(&mut self, other: &Delivery) {
        self.spend += other.spend;
        self.impressions += other.impressions;
        self.reach += other.reach;
        self.clicks += other.clicks;
        self.link_clicks += other.link_clicks;
        self.purchases.click_1d += other.purchases.click_1d;
        self.purchases.click_7d += other.purchases.click_7d;
        self.purchases.click_28d += other.purchases.click_28d;
        self.purchases.view_1d += other.purchases.view_1d;
    }
}
