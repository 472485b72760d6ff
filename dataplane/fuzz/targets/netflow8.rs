//! libFuzzer's entry to the target `netflow8`.

#![no_main]

mod driver;

libfuzzer_sys::fuzz_target!(|input: &[u8]| driver::run(weir_fuzz::fixed::run_netflow8, input));
