//! Slaves that fail and return while attackers churn.

use std::net::SocketAddr;

use weir_dataplane::mediate::Distribution;
use weir_dataplane::session::SessionLimits;

use crate::attacks::MODELS;
use crate::harness::{self, Version, set_of, template_of};
use crate::siege::{SLAVES, Siege};

/// A message of a session that only says its template.
fn template(sequence: u32) -> Vec<u8> {
    harness::netflow9(sequence, &set_of(0, &template_of(256, &[(8, 4), (12, 4)])))
}

fn one_of_many(n: u32) -> SocketAddr {
    SocketAddr::from(((0x0b00_0000 + n).to_be_bytes(), 2_000))
}

#[test]
fn a_slave_is_greeted_with_a_hundred_thousand_sessions_under_fire() {
    const SESSIONS: u32 = 100_000;
    let limits = SessionLimits {
        template_bytes: 128 << 20,
        template_bytes_per_source: 1 << 20,
        option_bytes: 1 << 20,
        ..SessionLimits::default()
    };
    let mut siege = Siege::new(Distribution::RoundRobin, limits);
    for round in 0..3 {
        for n in 0..SESSIONS {
            siege.take(one_of_many(n), &template(round));
            if round == 0 && n % 2_000 == 0 {
                let version = if n % 4_000 == 0 { Version::V9 } else { Version::Ipfix };
                siege.add(SocketAddr::from(((0xac10_0000 + n).to_be_bytes(), 2_000)), version);
                siege.everyone(2, true);
            }
        }
        siege.everyone(2, false);
        siege.now += 5_000;
    }
    siege.health(1, false);
    siege.everyone(5, false);
    siege.health(1, true);
    let (mut turns, mut n) = (0, 0);
    while siege.turn() {
        // Bursts between two turns: an attacker's sessions, old and new ones, and everyone's data.
        for _ in 0..20 {
            siege.take(one_of_many(2 * SESSIONS + n), &template(0));
            siege.take(one_of_many(n * 977 % SESSIONS), &template(9));
            n += 1;
        }
        if turns % 20 == 0 {
            siege.everyone(3, turns % 100 == 0);
        }
        if turns == 100 {
            // Another one fails while the first is being greeted.
            siege.health(2, false);
        }
        if turns == 200 {
            siege.health(2, true);
        }
        turns += 1;
    }
    assert!(turns > 300, "greeted in {turns} turns");
    for _ in 0..5 {
        siege.everyone(20, false);
    }
    siege.end();
}

#[test]
fn slaves_that_come_and_go_lose_no_honest_record() {
    for model in MODELS {
        let mut siege = Siege::new(model, Siege::narrow());
        for n in 0..40_000u32 {
            let data = set_of(256, &[1; 80]);
            let sets = if n % 3 == 0 { [&template(0)[20..], &data].concat() } else { data };
            let port = n as u16 % 700;
            let source = SocketAddr::from(([203, 0, 113, 1], port));
            siege.take(source, &harness::netflow9(n, &sets));
            if n % 10 == 0 {
                siege.everyone(n % 9 + 1, false);
            }
            // One is away at any time, for a while after its return another one.
            if n % 500 == 0 {
                let slave = (n / 500) as u16 % SLAVES;
                siege.health((slave + SLAVES - 1) % SLAVES, true);
                siege.health(slave, false);
            }
        }
        siege.end();
    }
}
