//! meta-api
