//! libFuzzer's entry to the target `templates`.

#![no_main]

mod driver;

libfuzzer_sys::fuzz_target!(|input: &[u8]| driver::run(weir_fuzz::templates::run, input));
