//! libFuzzer's entry to the target `retemplate`.

#![no_main]

mod driver;

libfuzzer_sys::fuzz_target!(|input: &[u8]| driver::run(weir_fuzz::retemplate::run, input));
