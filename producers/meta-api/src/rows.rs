//! Rows as Meta sent them: the bodies of its answers, and where in them each row stands. Nothing of a row is copied
//! until it is written into an event.

use std::borrow::Cow;

use bytes::Bytes;

/// Rows of one ad account on one day, byte for byte.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    bodies: Vec<Bytes>,
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    body: u32,
    row: Span,
    ad_id: Span,
}

/// A stretch of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn of<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        &body[self.start as usize..self.end as usize]
    }
}

impl Rows {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Each row's JSON, in the order of [`sort`](Self::sort), or else that of Meta's pages.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.places.iter().map(|place| place.row.of(&self.bodies[place.body as usize]))
    }

    /// Each row's ad id beside its JSON.
    pub fn with_ids(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.places.iter().map(|place| {
            let body = &self.bodies[place.body as usize];
            (place.ad_id.of(body), place.row.of(body))
        })
    }

    /// Puts the rows into the order of their ad ids, because Meta promises none; rows of one ad into that of their
    /// bytes.
    pub fn sort(&mut self) {
        let Rows { bodies, places } = self;
        let of = |place: &Place, span: Span| span.of(&bodies[place.body as usize]);
        places.sort_unstable_by(|a, b| of(a, a.ad_id).cmp(of(b, b.ad_id)).then_with(|| of(a, a.row).cmp(of(b, b.row))));
    }

    /// Adds a row of a body. Rows of one body follow one another.
    pub(crate) fn push(&mut self, body: &Bytes, row: Span, ad_id: Span) {
        if self.bodies.last().is_none_or(|last| last.as_ptr() != body.as_ptr()) {
            self.bodies.push(body.clone());
        }
        // A body has at most some megabytes, and a day some thousands of bodies.
        let body = (self.bodies.len() - 1) as u32;
        self.places.push(Place { body, row, ad_id });
    }

    /// Rows made elsewhere than in an answer of Meta's, each with its ad id. A row whose JSON does not hold the id's
    /// text sorts first.
    pub fn made(rows: impl IntoIterator<Item = (String, String)>) -> Rows {
        let mut made = Rows::default();
        for (ad_id, row) in rows {
            let at = row.find(&ad_id).filter(|_| !ad_id.is_empty()).map_or(0, |at| at as u32);
            let ad_id = Span { start: at, end: at + if at == 0 { 0 } else { ad_id.len() as u32 } };
            let span = Span { start: 0, end: row.len() as u32 };
            made.push(&Bytes::from(row), span, ad_id);
        }
        made
    }
}

/// A body as text, and the way back to its bytes. Names can hold bytes that are no UTF-8; then the text has U+FFFD in
/// their place, and is longer or shorter than the body by some bytes.
pub(crate) struct Text<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Behind each replacement: where the text goes on, and where the body does.
    replaced: Vec<(usize, usize)>,
}

impl<'a> Text<'a> {
    pub(crate) fn of(body: &'a [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(body) {
            return Text { text: text.into(), replaced: Vec::new() };
        }
        let (mut text, mut replaced, mut at) = (String::with_capacity(body.len() + 16), Vec::new(), 0);
        for chunk in body.utf8_chunks() {
            text.push_str(chunk.valid());
            at += chunk.valid().len() + chunk.invalid().len();
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                replaced.push((text.len(), at));
            }
        }
        Text { text: text.into(), replaced }
    }

    /// Where a part of the text stands in the body. The part begins and ends at ASCII characters.
    pub(crate) fn span(&self, part: &str) -> Option<Span> {
        let start = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        let at = |offset: usize| {
            let behind = self.replaced.partition_point(|(in_text, _)| *in_text <= offset);
            let (in_text, in_body) = if behind == 0 { (0, 0) } else { self.replaced[behind - 1] };
            u32::try_from(offset - in_text + in_body).ok()
        };
        Some(Span { start: at(start)?, end: at(start + part.len())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_text_is_found_in_the_body() {
        let body = b"[{\"n\":\"a\xffb\"},{\"n\":\"\xe2\x82\"},{\"n\":\"c\"}]";
        let text = Text::of(body);
        for (part, bytes) in [
            ("{\"n\":\"a\u{fffd}b\"}", &b"{\"n\":\"a\xffb\"}"[..]),
            ("{\"n\":\"\u{fffd}\"}", b"{\"n\":\"\xe2\x82\"}"),
            ("{\"n\":\"c\"}", b"{\"n\":\"c\"}"),
        ] {
            let at = text.text.find(part).expect("it is in the text");
            let span = text.span(&text.text[at..at + part.len()]).expect("a part of it");
            assert_eq!(span.of(body), bytes, "{part}");
        }
        assert!(Text::of(b"{}").span("elsewhere").is_none_or(|span| span.end > 2));
    }

    #[test]
    fn rows_are_sorted_by_ad_and_keep_their_bytes() {
        let (a, b) = (r#"{"ad_id":"9"}"#, r#"{"ad_id":"10","x":1}"#);
        let mut rows = Rows::made([("9", a), ("10", b), ("9", a)].map(|(id, row)| (id.to_owned(), row.to_owned())));
        rows.sort();
        assert_eq!(rows.iter().collect::<Vec<_>>(), [b, a, a].map(str::as_bytes));
        assert_eq!(rows.with_ids().map(|(id, _)| id).collect::<Vec<_>>(), [&b"10"[..], b"9", b"9"]);
    }
}
