//! Any body as Meta's answer about a window.
#![no_main]

#[path = "../properties/answer.rs"]
mod answer;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    answer::check(body);
});
