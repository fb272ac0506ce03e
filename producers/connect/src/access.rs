//! Who asks, what they may see, and how much of it at a time.

pub(crate) mod caller;
pub(crate) mod guard;
pub(crate) mod login;
pub mod password;
pub(crate) mod posted;
pub(crate) mod rate;
pub(crate) mod session;
pub(crate) mod tenant;

pub use tenant::session_of_tenant;
