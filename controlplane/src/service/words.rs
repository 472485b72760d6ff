//! The schema's words and the control plane's own types, into each other.
//!
//! Reading is lenient where a newer unit may say more, and strict where an answer would be wrong.

use weir_rpc::query_capnp::{
    coverage, delivery, device, discarded, latency, question, service, session, source, status,
    store, traffic, unit_answer, verdict, worker,
};
use weir_store::query::{Key, Order, Question, View};

use super::control::{role_of, role_word};

mod streams;

use crate::coverage::{Coverage, UnitAnswer};
use crate::status::{
    Delivery, Device, Discarded, Latency, Service, Session, Source, StoreStatus, Traffic,
    UnitStatus, Verdict, Worker,
};

/// List lengths in messages are 32 bits; ours are bounded far below.
fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// A peer's words end up on terminals and in logs: nothing in them may steer those.
pub(crate) fn text(reader: capnp::Result<capnp::text::Reader<'_>>) -> capnp::Result<String> {
    Ok(reader?.to_str()?.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

pub(crate) fn write_question(question: &Question, mut words: question::Builder<'_>) {
    words.set_filter(&question.filter);
    words.set_from_ms(question.from_ms.unwrap_or(0));
    words.set_until_ms(question.until_ms.unwrap_or(0));
    let limit = match &question.view {
        View::Flows { limit } | View::Statistic { limit, .. } => *limit,
    };
    words.set_limit(u32::try_from(limit).unwrap_or(u32::MAX));
    let mut view = words.get_view();
    match &question.view {
        View::Flows { .. } => view.set_flows(()),
        View::Statistic { keys, order, .. } => {
            let mut statistic = view.init_statistic();
            statistic.set_order(order.name());
            let mut names = statistic.init_keys(length(keys));
            for (at, key) in (0..).zip(keys) {
                names.set(at, key.name().as_ref());
            }
        }
    }
}

pub(crate) fn read_question(words: question::Reader<'_>) -> capnp::Result<Question> {
    let unknown = |what: &str, name: &str| {
        capnp::Error::failed(format!(
            "this unit knows no {what} {name:?}; it may run an older weir"
        ))
    };
    let limit = words.get_limit() as usize;
    let view = match words.get_view().which() {
        Ok(question::view::Flows(())) => View::Flows { limit },
        Ok(question::view::Statistic(statistic)) => {
            let order = statistic.get_order()?.to_str()?;
            let order = Order::parse(order).ok_or_else(|| unknown("order", order))?;
            let mut keys = Vec::new();
            for name in statistic.get_keys()? {
                let name = name?.to_str()?;
                keys.push(Key::parse(name).ok_or_else(|| unknown("element", name))?);
            }
            View::Statistic { keys, order, limit }
        }
        Err(capnp::NotInSchema(number)) => return Err(unknown("view", &number.to_string())),
    };
    let bound = |ms: u64| (ms != 0).then_some(ms);
    Ok(Question {
        filter: words.get_filter()?.to_string()?,
        from_ms: bound(words.get_from_ms()),
        until_ms: bound(words.get_until_ms()),
        view,
    })
}

pub(crate) fn write_coverage(ours: &Coverage, words: coverage::Builder<'_>) {
    let mut units = words.init_units(length(&ours.units));
    for (at, unit) in (0..).zip(&ours.units) {
        let mut entry: unit_answer::Builder<'_> = units.reborrow().get(at);
        entry.set_name(&unit.name);
        entry.set_through(&unit.through);
        entry.set_answered(unit.answered);
        entry.set_reason(&unit.reason);
        entry.set_elapsed_ms(unit.elapsed_ms);
    }
}

pub(crate) fn read_coverage(words: coverage::Reader<'_>) -> capnp::Result<Coverage> {
    let units = words.get_units()?.iter().map(|entry: unit_answer::Reader<'_>| {
        Ok(UnitAnswer {
            name: text(entry.get_name())?,
            through: text(entry.get_through())?,
            answered: entry.get_answered(),
            reason: text(entry.get_reason())?,
            elapsed_ms: entry.get_elapsed_ms(),
        })
    });
    Ok(Coverage { units: units.collect::<capnp::Result<_>>()? })
}

pub(crate) fn write_status(ours: &UnitStatus, mut words: status::Builder<'_>) {
    words.set_name(&ours.name);
    words.set_role(role_word(ours.role));
    words.set_address(&ours.address);
    words.set_up(ours.up);
    words.set_reason(&ours.reason);
    words.set_version(&ours.version);
    words.set_instance(ours.instance);
    words.set_started_ms(ours.started_ms);
    words.set_backend(&ours.backend);
    words.set_backend_sentence(&ours.backend_sentence);
    let mut listen = words.reborrow().init_listen(length(&ours.listen));
    for (at, &port) in (0..).zip(&ours.listen) {
        listen.set(at, port);
    }
    if let Some(traffic) = &ours.traffic {
        write_traffic(traffic, words.reborrow().init_traffic());
    }
    if let Some(storing) = &ours.storing {
        write_traffic(storing, words.reborrow().init_storing());
    }
    let mut slaves = words.reborrow().init_slaves(length(&ours.slaves));
    for (at, slave) in (0..).zip(&ours.slaves) {
        write_delivery(slave, slaves.reborrow().get(at));
    }
    let mut sessions = words.reborrow().init_sessions(length(&ours.sessions));
    for (at, session) in (0..).zip(&ours.sessions) {
        write_session(session, sessions.reborrow().get(at));
    }
    words.set_sessions_omitted(ours.sessions_omitted);
    write_path(ours, words.reborrow());
    if let Some(streams) = &ours.streams {
        streams::write(streams, words.reborrow().init_streams());
    }
    if let Some(store) = &ours.store {
        write_store(store, words.reborrow().init_store());
    }
    write_service(&ours.service, words.reborrow().init_service());
    let mut units = words.init_units(length(&ours.units));
    for (at, unit) in (0..).zip(&ours.units) {
        write_status(unit, units.reborrow().get(at));
    }
}

pub(crate) fn read_status(words: status::Reader<'_>) -> capnp::Result<UnitStatus> {
    let mut ours = UnitStatus {
        name: text(words.get_name())?,
        role: words.get_role().ok().and_then(role_of),
        address: text(words.get_address())?,
        up: words.get_up(),
        reason: text(words.get_reason())?,
        version: text(words.get_version())?,
        instance: words.get_instance(),
        started_ms: words.get_started_ms(),
        backend: text(words.get_backend())?,
        backend_sentence: text(words.get_backend_sentence())?,
        listen: words.get_listen()?.iter().collect(),
        traffic: words.has_traffic().then(|| read_traffic(words.get_traffic()?)).transpose()?,
        storing: words.has_storing().then(|| read_traffic(words.get_storing()?)).transpose()?,
        conserved: None,
        slaves: words.get_slaves()?.iter().map(read_delivery).collect::<capnp::Result<_>>()?,
        sessions: words.get_sessions()?.iter().map(read_session).collect::<capnp::Result<_>>()?,
        sessions_omitted: words.get_sessions_omitted(),
        workers: words.get_workers()?.iter().map(read_worker).collect::<capnp::Result<_>>()?,
        verdicts: words.get_verdicts()?.iter().map(read_verdict).collect::<capnp::Result<_>>()?,
        latency: words.has_latency().then(|| words.get_latency().map(read_latency)).transpose()?,
        devices: words.get_devices()?.iter().map(read_device).collect::<capnp::Result<_>>()?,
        sources: words.get_sources()?.iter().map(read_source).collect::<capnp::Result<_>>()?,
        sources_omitted: words.get_sources_omitted(),
        streams: words.has_streams().then(|| streams::read(words.get_streams()?)).transpose()?,
        store: words.has_store().then(|| read_store(words.get_store()?)).transpose()?,
        service: read_service(words.get_service()?),
        units: words.get_units()?.iter().map(read_status).collect::<capnp::Result<_>>()?,
    };
    ours.judge();
    Ok(ours)
}

/// What a packet path says of itself beside its counters.
fn write_path(ours: &UnitStatus, mut words: status::Builder<'_>) {
    let mut workers = words.reborrow().init_workers(length(&ours.workers));
    for (at, worker) in (0..).zip(&ours.workers) {
        write_worker(worker, workers.reborrow().get(at));
    }
    let mut verdicts = words.reborrow().init_verdicts(length(&ours.verdicts));
    for (at, verdict) in (0..).zip(&ours.verdicts) {
        write_verdict(verdict, verdicts.reborrow().get(at));
    }
    if let Some(latency) = &ours.latency {
        write_latency(latency, words.reborrow().init_latency());
    }
    let mut devices = words.reborrow().init_devices(length(&ours.devices));
    for (at, device) in (0..).zip(&ours.devices) {
        write_device(device, devices.reborrow().get(at));
    }
    let mut sources = words.reborrow().init_sources(length(&ours.sources));
    for (at, source) in (0..).zip(&ours.sources) {
        write_source(source, sources.reborrow().get(at));
    }
    words.set_sources_omitted(ours.sources_omitted);
}

fn write_worker(ours: &Worker, mut words: worker::Builder<'_>) {
    words.set_name(&ours.name);
    words.set_core(ours.core.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1));
    words.set_datagrams_received(ours.datagrams_received);
    words.set_datagrams_dropped(ours.datagrams_dropped);
    words.set_handed_over(ours.handed_over);
    words.set_records_decoded(ours.records_decoded);
    words.set_messages_sent(ours.messages_sent);
}

fn read_worker(words: worker::Reader<'_>) -> capnp::Result<Worker> {
    Ok(Worker {
        name: text(words.get_name())?,
        core: u32::try_from(words.get_core()).ok(),
        datagrams_received: words.get_datagrams_received(),
        datagrams_dropped: words.get_datagrams_dropped(),
        handed_over: words.get_handed_over(),
        records_decoded: words.get_records_decoded(),
        messages_sent: words.get_messages_sent(),
    })
}

fn write_verdict(ours: &Verdict, mut words: verdict::Builder<'_>) {
    words.set_name(&ours.name);
    words.set_meaning(&ours.meaning);
    words.set_count(ours.count);
}

fn read_verdict(words: verdict::Reader<'_>) -> capnp::Result<Verdict> {
    Ok(Verdict {
        name: text(words.get_name())?,
        meaning: text(words.get_meaning())?,
        count: words.get_count(),
    })
}

fn write_latency(ours: &Latency, mut words: latency::Builder<'_>) {
    words.set_messages(ours.messages);
    words.set_p50_ns(ours.p50_ns);
    words.set_p99_ns(ours.p99_ns);
    words.set_p999_ns(ours.p999_ns);
    words.set_max_ns(ours.max_ns);
}

fn read_latency(words: latency::Reader<'_>) -> Latency {
    Latency {
        messages: words.get_messages(),
        p50_ns: words.get_p50_ns(),
        p99_ns: words.get_p99_ns(),
        p999_ns: words.get_p999_ns(),
        max_ns: words.get_max_ns(),
    }
}

fn write_device(ours: &Device, mut words: device::Builder<'_>) {
    words.set_name(&ours.name);
    words.set_rx_dropped(ours.rx_dropped);
    words.set_rx_missed(ours.rx_missed);
    words.set_rx_errors(ours.rx_errors);
    words.set_tx_dropped(ours.tx_dropped);
    words.set_tx_errors(ours.tx_errors);
}

fn read_device(words: device::Reader<'_>) -> capnp::Result<Device> {
    Ok(Device {
        name: text(words.get_name())?,
        rx_dropped: words.get_rx_dropped(),
        rx_missed: words.get_rx_missed(),
        rx_errors: words.get_rx_errors(),
        tx_dropped: words.get_tx_dropped(),
        tx_errors: words.get_tx_errors(),
    })
}

fn write_source(ours: &Source, mut words: source::Builder<'_>) {
    words.set_address(&ours.address);
    words.set_port(ours.port);
    words.set_rule(&ours.rule);
    words.set_packets(ours.packets);
    words.set_bytes(ours.bytes);
}

fn read_source(words: source::Reader<'_>) -> capnp::Result<Source> {
    Ok(Source {
        address: text(words.get_address())?,
        port: words.get_port(),
        rule: text(words.get_rule())?,
        packets: words.get_packets(),
        bytes: words.get_bytes(),
    })
}

fn write_traffic(ours: &Traffic, mut words: traffic::Builder<'_>) {
    words.set_datagrams_received(ours.datagrams_received);
    words.set_datagrams_dropped(ours.datagrams_dropped);
    words.set_datagrams_accepted(ours.datagrams_accepted);
    words.set_messages_sent(ours.messages_sent);
    words.set_messages_failed(ours.messages_failed);
    words.set_templates_received(ours.templates_received);
    words.set_records_decoded(ours.records_decoded);
    words.set_records_delivered(ours.records_delivered);
    words.set_records_in_flight(ours.records_in_flight);
    words.set_options_decoded(ours.options_decoded);
    words.set_counter_samples(ours.counter_samples);
    words.set_samples_unknown(ours.samples_unknown);
    words.set_broadcasts_failed(ours.broadcasts_failed);
    words.set_sequence_lost(ours.sequence_lost);
    words.set_sequence_resets(ours.sequence_resets);
    words.set_datagrams_forwarded(ours.datagrams_forwarded);
    words.set_handed_over(ours.handed_over);
    words.set_sets_held(ours.sets_held);
    words.set_copies_sent(ours.copies_sent);
    words.set_copies_failed(ours.copies_failed);
    words.set_templates_unheard(ours.templates_unheard);
    words.set_rates_refused(ours.rates_refused);
    words.set_names_lost(ours.names_lost);
    words.set_news_lost(ours.news_lost);
    let kinds = [
        (discarded::Kind::Datagram, &ours.discarded.datagram),
        (discarded::Kind::Set, &ours.discarded.set),
        (discarded::Kind::Record, &ours.discarded.record),
    ];
    let entries: Vec<_> = kinds
        .into_iter()
        .flat_map(|(kind, reasons)| reasons.iter().map(move |(name, &count)| (kind, name, count)))
        .collect();
    let mut list = words.init_discarded(length(&entries));
    for (at, (kind, name, count)) in (0..).zip(entries) {
        let mut entry: discarded::Builder<'_> = list.reborrow().get(at);
        entry.set_unit(kind);
        entry.set_reason(name);
        entry.set_count(count);
    }
}

fn read_traffic(words: traffic::Reader<'_>) -> capnp::Result<Traffic> {
    let mut ended = Discarded::default();
    for entry in words.get_discarded()? {
        let reasons = match entry.get_unit() {
            Ok(discarded::Kind::Datagram) => &mut ended.datagram,
            Ok(discarded::Kind::Set) => &mut ended.set,
            Ok(discarded::Kind::Record) => &mut ended.record,
            Err(capnp::NotInSchema(_)) => continue,
        };
        reasons.insert(text(entry.get_reason())?, entry.get_count());
    }
    Ok(Traffic {
        datagrams_received: words.get_datagrams_received(),
        datagrams_dropped: words.get_datagrams_dropped(),
        datagrams_accepted: words.get_datagrams_accepted(),
        messages_sent: words.get_messages_sent(),
        messages_failed: words.get_messages_failed(),
        templates_received: words.get_templates_received(),
        records_decoded: words.get_records_decoded(),
        records_delivered: words.get_records_delivered(),
        records_in_flight: words.get_records_in_flight(),
        options_decoded: words.get_options_decoded(),
        counter_samples: words.get_counter_samples(),
        samples_unknown: words.get_samples_unknown(),
        broadcasts_failed: words.get_broadcasts_failed(),
        sequence_lost: words.get_sequence_lost(),
        sequence_resets: words.get_sequence_resets(),
        datagrams_forwarded: words.get_datagrams_forwarded(),
        handed_over: words.get_handed_over(),
        sets_held: words.get_sets_held(),
        copies_sent: words.get_copies_sent(),
        copies_failed: words.get_copies_failed(),
        templates_unheard: words.get_templates_unheard(),
        rates_refused: words.get_rates_refused(),
        names_lost: words.get_names_lost(),
        news_lost: words.get_news_lost(),
        discarded: ended,
    })
}

fn write_delivery(ours: &Delivery, mut words: delivery::Builder<'_>) {
    words.set_name(&ours.name);
    words.set_address(&ours.address);
    words.set_external(ours.external);
    words.set_healthy(ours.healthy);
    words.set_reason(&ours.reason);
    words.set_messages(ours.messages);
    words.set_records(ours.records);
    words.set_options(ours.options);
    words.set_changed_ms(ours.changed_ms);
    words.set_losses(ours.losses);
    words.set_weight(ours.weight);
    words.set_drained(ours.drained);
    words.set_forwarded(ours.forwarded);
}

fn read_delivery(words: delivery::Reader<'_>) -> capnp::Result<Delivery> {
    Ok(Delivery {
        name: text(words.get_name())?,
        address: text(words.get_address())?,
        external: words.get_external(),
        healthy: words.get_healthy(),
        reason: text(words.get_reason())?,
        messages: words.get_messages(),
        records: words.get_records(),
        options: words.get_options(),
        changed_ms: words.get_changed_ms(),
        losses: words.get_losses(),
        weight: words.get_weight(),
        drained: words.get_drained(),
        forwarded: words.get_forwarded(),
    })
}

fn write_session(ours: &Session, mut words: session::Builder<'_>) {
    words.set_exporter(&ours.exporter);
    words.set_port(ours.port);
    words.set_protocol(&ours.protocol);
    words.set_domain(ours.domain);
    words.set_datagrams(ours.datagrams);
    words.set_records(ours.records);
    words.set_lost(ours.lost);
    words.set_resets(ours.resets);
    words.set_templates(ours.templates);
    words.set_last_seen_ms(ours.last_seen_ms);
    words.set_transport(&ours.transport);
}

fn read_session(words: session::Reader<'_>) -> capnp::Result<Session> {
    Ok(Session {
        exporter: text(words.get_exporter())?,
        port: words.get_port(),
        protocol: text(words.get_protocol())?,
        domain: words.get_domain(),
        datagrams: words.get_datagrams(),
        records: words.get_records(),
        lost: words.get_lost(),
        resets: words.get_resets(),
        templates: words.get_templates(),
        transport: text(words.get_transport())?,
        last_seen_ms: words.get_last_seen_ms(),
    })
}

fn write_store(ours: &StoreStatus, mut words: store::Builder<'_>) {
    words.set_directory(&ours.directory);
    words.set_segments(ours.segments);
    words.set_sealed_rows(ours.sealed_rows);
    words.set_memory_rows(ours.memory_rows);
    words.set_bytes(ours.bytes);
    words.set_seal_failures(ours.seal_failures);
    words.set_names(ours.names);
    words.set_refused_names(ours.refused_names);
    words.set_last_error(&ours.last_error);
}

fn read_store(words: store::Reader<'_>) -> capnp::Result<StoreStatus> {
    Ok(StoreStatus {
        directory: text(words.get_directory())?,
        segments: words.get_segments(),
        sealed_rows: words.get_sealed_rows(),
        memory_rows: words.get_memory_rows(),
        bytes: words.get_bytes(),
        seal_failures: words.get_seal_failures(),
        names: words.get_names(),
        refused_names: words.get_refused_names(),
        last_error: text(words.get_last_error())?,
    })
}

fn write_service(ours: &Service, mut words: service::Builder<'_>) {
    words.set_connections(ours.connections);
    words.set_accepted(ours.accepted);
    words.set_refused(ours.refused);
    words.set_broken(ours.broken);
}

fn read_service(words: service::Reader<'_>) -> Service {
    Service {
        connections: words.get_connections(),
        accepted: words.get_accepted(),
        refused: words.get_refused(),
        broken: words.get_broken(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::message::Builder;

    fn through_the_wire(question: &Question) -> Question {
        let mut message = Builder::new_default();
        write_question(question, message.init_root());
        read_question(message.get_root_as_reader().unwrap()).unwrap()
    }

    #[test]
    fn a_question_survives_the_wire() {
        let view = View::statistic("srcip,dstport/bytes", 5).unwrap();
        let filter = "proto tcp and dst port 443".to_owned();
        let question = Question { filter, from_ms: Some(5), until_ms: None, view };
        assert_eq!(through_the_wire(&question), question);
        let question = Question { view: View::Flows { limit: 7 }, ..question };
        assert_eq!(through_the_wire(&question), question);
    }

    #[test]
    fn an_element_of_a_newer_weir_is_refused_by_name() {
        let mut message = Builder::new_default();
        let words: question::Builder<'_> = message.init_root();
        let mut statistic = words.get_view().init_statistic();
        statistic.set_order("bytes");
        statistic.init_keys(1).set(0, "mood");
        let error = read_question(message.get_root_as_reader().unwrap()).unwrap_err();
        assert!(error.extra.contains("\"mood\""), "{error}");
    }

    fn some_streams() -> crate::status::Streams {
        use crate::status::{StreamConnection, StreamPort, Streams};
        let connection = StreamConnection {
            exporter: "192.0.2.1:4000".into(),
            name: "r1.example.net".into(),
            transport: "tls".into(),
            bytes: 5,
            ..StreamConnection::default()
        };
        Streams {
            ports: vec![StreamPort { port: 4740, tls: true }],
            accepted: 2,
            open: 1,
            ended: [("cut".to_owned(), 1)].into(),
            bytes_cut: 7,
            connections: vec![connection],
            ..Streams::default()
        }
    }

    #[test]
    fn a_tree_of_statuses_survives_the_wire() {
        let mut slave = UnitStatus { name: "s1".into(), up: true, ..UnitStatus::default() };
        let mut traffic =
            Traffic { datagrams_received: 3, datagrams_accepted: 2, ..Traffic::default() };
        traffic.discarded.datagram.insert("too_short".into(), 1);
        slave.traffic = Some(traffic);
        slave.store = Some(StoreStatus { segments: 4, ..StoreStatus::default() });
        slave.judge();
        let session = Session { exporter: "192.0.2.1:4000".into(), lost: 9, ..Session::default() };
        let delivery = Delivery { name: "s1".into(), records: 8, weight: 3, ..Delivery::default() };
        let master = UnitStatus {
            name: "m1".into(),
            role: Some(crate::topology::Role::Master),
            sessions: vec![session],
            slaves: vec![delivery],
            streams: Some(some_streams()),
            listen: vec![2055],
            units: vec![slave],
            ..UnitStatus::default()
        };
        let mut message = Builder::new_default();
        write_status(&master, message.init_root());
        assert_eq!(read_status(message.get_root_as_reader().unwrap()).unwrap(), master);
    }
}
