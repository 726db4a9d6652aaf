#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netmod_inet::testing::fuzz::handshake(bytes));
