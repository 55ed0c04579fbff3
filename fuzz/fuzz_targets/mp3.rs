#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rungs_testkit::parsers::run("mp3", data));
