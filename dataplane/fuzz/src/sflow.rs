//! sFlow: samples, their records and the packets in them.

use weir_dataplane::wire::sflow::{self, Datagram, Kind, Record};

use super::collector;

/// The target's body.
pub fn run(input: &[u8]) {
    let mut payload = input.to_vec();
    if let [version @ .., _, _, _, _] = &mut payload[..8.min(input.len())]
        && version.len() == 4
    {
        version.copy_from_slice(&sflow::VERSION.to_be_bytes());
    }
    let expected = Datagram::new_checked(&payload).map_or(0, |datagram| walk(&payload, &datagram));
    let rows = collector::twice(&payload);
    assert_eq!(rows, [expected; 2], "each flow sample is a row");
}

/// Walks all of it; returns the well-formed flow samples.
fn walk(payload: &[u8], datagram: &Datagram<'_>) -> usize {
    let mut header = datagram.header().to_vec();
    assert!(header.len() <= sflow::HEADER_LENGTH_MAX);
    assert!(sflow::same_context(&header, payload));
    sflow::set_count_and_sequence(&mut header, datagram.count(), datagram.sequence());
    assert_eq!(header, datagram.header(), "what is read is what is written");
    let _ = datagram.agent();
    let (mut flows, mut bytes) = (0, header.len());
    for sample in datagram.samples() {
        let Ok(sample) = sample else { break };
        bytes += sample.bytes().len();
        assert!(bytes <= payload.len(), "samples leave their datagram");
        assert_eq!(sample.bytes().len() % 4, 0);
        match sample.kind() {
            Ok(Kind::Flow(flow)) => {
                assert!(sample.is_flow());
                flows += 1;
                let _ = (flow.sequence(), flow.data_source(), flow.sampling_rate());
                let _ = (flow.pool(), flow.drops(), flow.input().index(), flow.output().index());
                let mut records = 0;
                for record in flow.records() {
                    records += 1;
                    if let Ok(Record::Header(header)) = record {
                        let _ = header.packet();
                    }
                }
                assert!(records <= sample.bytes().len() / 8 + 1, "a record has eight bytes");
            }
            Ok(Kind::Counters(counters)) => {
                assert!(sample.is_counters());
                let _ = (counters.sequence(), counters.data_source());
            }
            Ok(Kind::Other) => assert!(!sample.is_flow() && !sample.is_counters()),
            Err(_) => assert!(sample.is_flow() || sample.is_counters()),
        }
    }
    flows
}
