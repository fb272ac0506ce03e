//! Who the data belongs to: tenants, their ad accounts, the integrations that connect them, and the sealed tokens.
//!
//! Here live: making a tenant ([`create_account`]), connecting an ad account ([`connect`]) with the rule that two
//! currencies never meet in one tenant, the key ring that seals tokens ([`KeyRing`], [`rotate`]), what is known of a
//! token and who is warned of its end ([`KnownToken`], [`warn_of_ends`]), the tokens with which a tenant's programs ask
//! us ([`create_api_token`]), an integration's state, what counts as its purchases ([`set_purchase_rule`]), and the
//! instants that snapshots get as their versions ([`next_fetched_at`]). What must not live here: HTTP, NATS, or what is
//! done with an integration.

mod api_token;
mod connect;
mod integration;
mod key_ring;
mod purchase_rule;
mod rotate;
mod tenant;
mod token;
mod token_check;
mod version;

pub use api_token::{ApiToken, api_tokens, create_api_token, random_secret, revoke_api_token, secret_sha256};
pub use connect::{ConnectError, Connected, FoundAdAccount, check_currency_rule, connect, disconnect};
pub use integration::{
    Integration, Origin, Status, forget_expired, integration, integrations, keys_in_use, named_ad_accounts, set_status,
};
pub use key_ring::{KeyRing, KeyRingError, Owner, SealError, Sealed};
pub use purchase_rule::{
    PurchaseRule, PurchaseRuleError, check_purchase_rule, is_attribution_window, purchase_rules, set_purchase_rule,
};
pub use rotate::{Rotated, rotate};
pub use tenant::{Names, Tenant, TenantError, check_currency, check_timezone, create_account, names, tenant};
pub use token::{
    End, EndOf, Expiry, KeptToken, KnownToken, ReplaceError, Seal, THRESHOLDS_DAYS, TokenStanding, replace_token,
    token, token_standing,
};
pub use token_check::{DueCheck, Warned, check_done, checked, take_due_check, unanswered, warn_of_ends};
pub use version::{VersionError, next_fetched_at};
