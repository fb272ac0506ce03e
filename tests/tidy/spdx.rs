//! Whether a licence expression can be met with the licences that are allowed.
//!
//! The grammar is that of SPDX (`OR` binds weaker than `AND`, `AND` weaker than `WITH`), and the old `MIT/Apache-2.0`,
//! which means `OR`. A licence with an exception is a licence of its own: it is allowed when it is in the list so.

use std::iter::Peekable;
use std::vec::IntoIter;

type Tokens = Peekable<IntoIter<String>>;

/// An expression that cannot be read, and why.
#[derive(Debug, PartialEq)]
pub struct Unreadable(pub String);

pub fn is_met(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, Unreadable> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut tokens: Tokens = spaced.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter().peekable();
    let met = any_of(&mut tokens, allowed)?;
    match tokens.next() {
        None => Ok(met),
        Some(token) => Err(Unreadable(format!("\"{token}\" where nothing, OR, AND or WITH is expected"))),
    }
}

fn any_of(tokens: &mut Tokens, allowed: &dyn Fn(&str) -> bool) -> Result<bool, Unreadable> {
    let mut met = all_of(tokens, allowed)?;
    while tokens.next_if(|token| token == "OR").is_some() {
        met |= all_of(tokens, allowed)?;
    }
    Ok(met)
}

fn all_of(tokens: &mut Tokens, allowed: &dyn Fn(&str) -> bool) -> Result<bool, Unreadable> {
    let mut met = one(tokens, allowed)?;
    while tokens.next_if(|token| token == "AND").is_some() {
        met &= one(tokens, allowed)?;
    }
    Ok(met)
}

fn one(tokens: &mut Tokens, allowed: &dyn Fn(&str) -> bool) -> Result<bool, Unreadable> {
    if tokens.next_if(|token| token == "(").is_some() {
        let met = any_of(tokens, allowed)?;
        let closed = tokens.next_if(|token| token == ")").is_some();
        return if closed { Ok(met) } else { Err(Unreadable("a bracket is not closed".to_owned())) };
    }
    let licence = name(tokens)?;
    if tokens.next_if(|token| token == "WITH").is_some() {
        return Ok(allowed(&format!("{licence} WITH {}", name(tokens)?)));
    }
    Ok(allowed(&licence))
}

fn name(tokens: &mut Tokens) -> Result<String, Unreadable> {
    let is_name = |token: &String| !["OR", "AND", "WITH", "(", ")"].contains(&token.as_str());
    match tokens.next_if(is_name) {
        Some(token) => Ok(token),
        None => Err(Unreadable(format!("a licence is expected, not {:?}", tokens.peek()))),
    }
}

#[test]
fn expressions_are_met_as_spdx_says() {
    let allowed =
        |licence: &str| ["MIT", "Apache-2.0", "ISC", "GPL-2.0 WITH Classpath-exception-2.0"].contains(&licence);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND ISC", true),
        ("MIT/GPL-3.0", true),
        ("Unlicense / GPL-3.0", false),
        // AND binds stronger: MIT alone is enough here, and would not be the other way round.
        ("MIT OR ISC AND GPL-3.0", true),
        ("GPL-3.0 AND ISC OR MIT", true),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("((MIT))", true),
        // An exception is part of the licence, both ways.
        ("Apache-2.0 WITH LLVM-exception", false),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", true),
        ("GPL-2.0", false),
    ] {
        assert_eq!(is_met(expression, &allowed), Ok(met), "{expression}");
    }
}

#[test]
fn an_expression_that_cannot_be_read_is_refused() {
    for expression in ["", "MIT OR", "MIT AND OR ISC", "MIT ISC", "(MIT", "MIT)", "MIT or ISC", "MIT WITH", "()"] {
        assert!(is_met(expression, &|_| true).is_err(), "{expression:?}");
    }
}
