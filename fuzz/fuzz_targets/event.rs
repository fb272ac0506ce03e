//! Any bytes as the payload of an event: the first says the codec, `z` for zstd and all else for plain.
#![no_main]

#[path = "../properties/event.rs"]
mod event;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if event::check(input) {
        event::check_in_parts(input);
    }
});
