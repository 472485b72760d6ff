//! libFuzzer's entry to the target `fixed`.

#![no_main]

mod driver;

libfuzzer_sys::fuzz_target!(|input: &[u8]| driver::run(weir_fuzz::fixed::run, input));
