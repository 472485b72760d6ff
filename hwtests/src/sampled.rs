//! What sFlow captures say, summed in two ways: as weir stores samples, and as sfcapd does.

use std::path::PathBuf;

use weir_controlplane::capture::Capture;
use weir_controlplane::lab::units::Sums;
use weir_dataplane::wire::Message;
use weir_dataplane::wire::sflow::{FlowSample, Kind, Record};

/// The flow samples of some captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Each a packet, and its bytes: those of the IP packet where the agent says them, else those
    /// of the frame.
    pub received: Sums,
    /// Both times the sampling rate, each product in 32 bits.
    pub scaled: Sums,
}

impl Sampled {
    /// Of these files.
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn of(files: &[PathBuf]) -> Sampled {
        let mut sum = Sampled::default();
        for file in files {
            let capture = Capture::read(file).expect("a capture of the corpus");
            for datagram in &capture.datagrams {
                if let Ok(Message::Sflow(datagram)) = Message::parse(&datagram.payload) {
                    for sample in datagram.samples().flatten() {
                        if let Ok(Kind::Flow(sample)) = sample.kind() {
                            sum.add(&sample);
                        }
                    }
                }
            }
        }
        sum
    }

    fn add(&mut self, sample: &FlowSample<'_>) {
        let (mut frame, mut ethernet, mut ip) = (0, 0, None);
        for record in sample.records().flatten() {
            match record {
                Record::Header(header) => frame = header.frame_length,
                Record::Ethernet(header) => ethernet = header.length,
                Record::Ip(packet) => ip = Some(packet.length),
                _ => {}
            }
        }
        let (rate, bytes) = (sample.sampling_rate(), ip.unwrap_or(frame));
        let received = if bytes > 0 { bytes } else { ethernet };
        self.received += Sums { flows: 1, packets: 1, bytes: received.into() };
        // sfcapd leaves the length of an Ethernet header without its packet out.
        let scaled = rate.wrapping_mul(bytes).into();
        self.scaled += Sums { flows: 1, packets: rate.into(), bytes: scaled };
    }
}
