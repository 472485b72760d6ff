//! libFuzzer's entry to the target `ipfix`.

#![no_main]

mod driver;

libfuzzer_sys::fuzz_target!(|input: &[u8]| driver::run(weir_fuzz::sets::run_ipfix, input));
