//! NetFlow versions 1, 5, 6, 7 and 8: every layout over the same bytes, then the collector.

use weir_dataplane::wire::fixed::{self, LAYOUTS, Packet};
use weir_dataplane::wire::{Message, netflow8};

use super::{collector, stream};

/// The target's body.
pub fn run(input: &[u8]) {
    for layout in LAYOUTS {
        if let Ok(packet) = Packet::new_checked(input, layout) {
            walk(input, &packet);
        }
    }
    let mut payload = input.to_vec();
    // Half of the inputs are put right, so that the records are reached.
    if input.last().is_some_and(|last| last & 1 == 1) {
        stream::repair(&mut payload);
    }
    collect(&payload);
}

/// The body of version 8's own target.
pub fn run_netflow8(input: &[u8]) {
    let mut payload = input.to_vec();
    if let [high, low, ..] = &mut payload[..] {
        (*high, *low) = (0, netflow8::VERSION as u8);
    }
    if input.last().is_some_and(|last| last & 1 == 1) {
        stream::repair(&mut payload);
    }
    if let Ok(packet) = netflow8::new_checked(&payload) {
        assert!((1..=14).contains(&packet.layout().scheme));
        walk(&payload, &packet);
    }
    collect(&payload);
}

fn walk(input: &[u8], packet: &Packet<'_>) {
    let layout = packet.layout();
    assert_eq!(packet.records().len(), usize::from(packet.count()));
    assert_eq!(packet.body().len(), packet.records().len() * layout.record_length);
    assert_eq!(input[..layout.header_length], *packet.header());
    for record in packet.records() {
        assert_eq!(record.len(), layout.record_length);
        for field in layout.fields {
            assert!(record.get(field.at.clone()).is_some(), "a field leaves its record");
        }
    }
    assert_eq!(packet.domain() & 0xffff, u32::from(packet.engine()));
    let mut header = packet.header().to_vec();
    assert!(fixed::same_context(&header, packet.header()));
    fixed::set_sequence(layout, &mut header, packet.sequence());
    fixed::set_count(&mut header, packet.count());
    assert_eq!(header, packet.header(), "what is read is what is written");
}

/// Each counted record is a row.
fn collect(payload: &[u8]) {
    let expected = match Message::parse(payload) {
        Ok(Message::Fixed(packet)) => usize::from(packet.count()),
        Ok(_) => return,
        Err(_) => 0,
    };
    assert_eq!(collector::twice(payload), [expected; 2]);
}
