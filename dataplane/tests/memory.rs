//! What is remembered of exporters stays within its bounds, counted at the allocator.

#![allow(unsafe_code, reason = "an allocator that counts is unsafe to declare")]
#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::hold::{Hold, HoldLimits};
use weir_dataplane::io::Datagram;
use weir_dataplane::session::{
    SessionId, SessionKey, SessionLimits, SessionTable, Taken, Transport,
};
use weir_dataplane::wire::set::{Set, TemplateRecords};
use weir_dataplane::wire::{Protocol, ipfix};
use weir_dataplane::{Counters, Timestamp};

/// Bytes allocated and not freed, and the most that they have been.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's layout, as GlobalAlloc asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's pointer and layout, which this allocator gave out.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` had allocated at its most beyond what was there before, bytes.
fn most(work: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    work();
    MOST.load(Ordering::Relaxed) - before
}

fn key(source: u32, domain: u32) -> SessionKey {
    let address = IpAddr::from((0x0a00_0000 + source).to_be_bytes());
    SessionKey {
        source: SocketAddr::new(address, 9),
        port: 2055,
        protocol: Protocol::Ipfix,
        domain,
        transport: Transport::Udp,
    }
}

/// A template or options template of so many fields, as it stands on the wire.
fn template(id: u16, fields: u16, element: u16, options: bool) -> Vec<u8> {
    let mut body = vec![id, fields];
    body.extend(options.then_some(1));
    for n in 0..fields {
        body.extend([if element == 0 { n % 400 } else { element }, 4]);
    }
    body.into_iter().flat_map(u16::to_be_bytes).collect()
}

fn learn(table: &mut SessionTable<()>, id: SessionId, body: &[u8], options: bool) {
    let set = if options { ipfix::SET_OPTIONS_TEMPLATES } else { ipfix::SET_TEMPLATES };
    let set = Set { id: set, body };
    let record = TemplateRecords::new(Protocol::Ipfix, &set).next().unwrap().unwrap();
    let session = table.get_mut(id).unwrap();
    if let Ok(Taken::New | Taken::Changed) = session.take(&record)
        && options
    {
        let template = session.templates.get(record.id).unwrap();
        let length = template.fixed_length.unwrap() as u32;
        for scope in 0..400u32 {
            let mut data = scope.to_be_bytes().to_vec();
            data.resize(length as usize, 7);
            session.options.note(template, &data);
        }
    }
}

/// Fills a table with all that its limits let in, from more addresses than it has places.
fn fill(limits: SessionLimits) {
    let mut table = SessionTable::<()>::new(limits);
    for source in 0..limits.sessions as u32 * 2 {
        for domain in 0..3 {
            let key = key(source, domain);
            let now = Timestamp(u64::from(source));
            let Ok(inserted) = table.insert(key, now, ()) else { continue };
            for n in 0..40 {
                table.touch(inserted.id, now);
                learn(&mut table, inserted.id, &template(256 + n, 1 + n * 7, 0, false), false);
                learn(&mut table, inserted.id, &template(1_000 + n, 1, 8, false), false);
            }
            learn(&mut table, inserted.id, &template(900, 1 + domain as u16 * 9, 149, true), true);
            if domain == 1 {
                // A withdrawal leaves no table behind.
                learn(&mut table, inserted.id, &[0, 2, 0, 0], false);
                learn(&mut table, inserted.id, &template(256, 60, 0, false), false);
            }
        }
    }
    while table.take_stripped().is_some() {}
    assert!(table.len() <= limits.sessions);
}

/// One test, since the allocator counts for the whole process.
#[test]
fn memory_stays_within_its_bounds() {
    let limits = SessionLimits {
        sessions: 600,
        template_bytes: 8 << 20,
        template_bytes_per_source: 1 << 20,
        option_bytes: 4 << 20,
        option_bytes_per_source: 1 << 20,
        ..SessionLimits::default()
    };
    let bound = SessionTable::<()>::memory(&limits);
    // On probation an eighth of the memory is theirs.
    for (established_ms, part) in [(0, 2), (u64::MAX, 16)] {
        let used = most(|| fill(SessionLimits { established_ms, ..limits }));
        assert!(used <= bound, "a table of {bound} bytes used {used}");
        assert!(used >= bound / part, "the bound says little: {used} of {bound} bytes");
    }

    let limits = HoldLimits { bytes: 1 << 20, ..HoldLimits::default() };
    let used = most(|| {
        let mut hold = Hold::new(limits);
        for session in 0..100_000u32 {
            let source = IpAddr::from(session.to_be_bytes());
            let body = [7; 1_400];
            let length = session as usize % 1_400;
            hold.keep(SessionId(session), source, 256, &[0; 20], &body[..length], Timestamp(0));
        }
    });
    assert!(used <= limits.bytes, "a hold of {} bytes used {used}", limits.bytes);

    let limits = SessionLimits { sessions: 20_000, template_bytes: 16 << 20, ..Default::default() };
    let used = most(|| sweep(limits));
    let hold = HoldLimits::default().bytes;
    let bound = SessionTable::<[u8; 64]>::memory(&limits) + hold + (1 << 20);
    assert!(used <= bound, "a collector of {bound} bytes used {used}");
}

/// A million datagrams, each from an address of its own, of every kind.
fn sweep(limits: SessionLimits) {
    let hold = HoldLimits::default();
    let config = CollectorConfig { sessions: limits, hold, batch_rows: 64 };
    let mut collector = Collector::new(config, Arc::new(Counters::default()));
    let mut v5 = [0; 24 + 48];
    v5[..4].copy_from_slice(&[0, 5, 0, 1]);
    let v9 =
        |set: &[u8]| [&[0, 9, 0, 1, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1], set].concat();
    let templates = v9(&[0, 0, 0, 12, 1, 0, 0, 1, 0, 8, 0, 4]);
    let data = v9(&[1, 0, 0, 8, 1, 2, 3, 4]);
    let mut ipfix = vec![0, 10, 0, 28, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1];
    ipfix.extend([0, 2, 0, 12, 1, 1, 0, 1, 0, 4, 0, 1]);
    for source in 0..1_000_000u32 {
        let payload = match source % 4 {
            0 => &v5[..],
            1 => &templates,
            2 => &data,
            _ => &ipfix,
        };
        let source = SocketAddr::from((source.to_be_bytes(), 9));
        let destination = SocketAddr::from(([192, 0, 2, 1], 2055));
        collector.datagram(&Datagram { source, destination, payload }, Timestamp(5));
        if collector.is_full() {
            collector.take_batch();
        }
    }
    assert_eq!(collector.sessions().len(), limits.sessions);
}
