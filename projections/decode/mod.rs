//! An event, decoded for the folds: from the bytes as they travelled to rows in the text that COPY takes.
//!
//! `content` reads a payload at once or part by part, `data` the JSON of one of these, `row` one of Meta's rows in it, and
//! `copy` writes what the folds keep of the rows. [`snapshot`] is what comes out.
//!
//! What must not live here: SQL, and what an event means beside others of its day (that is `timeline`).

mod content;
mod copy;
mod data;
mod row;
pub mod snapshot;

pub use content::sha256 as content_sha256;
