//! A file that is right, and what is said of each way in which it can be wrong.

use std::path::Path;

use super::*;

const GOOD: &str = r#"
[[unit]]
name = "m1"
role = "master"
address = "10.0.0.1"
[[unit]]
name = "p1"
role = "proxy"
address = "10.0.0.2"
[[unit]]
name = "s1"
role = "slave"
address = "10.0.0.3"
address6 = "fd00::3"
[[unit]]
name = "s2"
role = "slave"
address = "10.0.0.4"
external = true
[[unit]]
name = "alone"
role = "slave"
address = "10.0.0.5"
[[proxy_group]]
name = "g1"
proxy = "p1"
slaves = ["s1", "s2"]
[[source_group]]
name = "site"
proxy_groups = ["g1"]
primary = "g1"
"#;

fn parse(text: &str) -> Result<Topology, Error> {
    Topology::parse(text, Path::new("weir.toml"))
}

/// The one problem of the good file after replacing `from` with `to`.
fn problem(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the file");
    match parse(&GOOD.replacen(from, to, 1)) {
        Err(Error::Topology { problems, .. }) => {
            problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    let topology = parse(GOOD).unwrap();
    let group = topology.proxy_group("g1").unwrap();
    assert_eq!(group.listen, [2055]);
    assert_eq!(group.distribution, Distribution::RoundRobin);
    assert_eq!(topology.unit("s1").unwrap().mtu, 1500);
    assert_eq!(topology.unit("s1").unwrap().addresses().count(), 2);
    assert_eq!(topology.slaves_of(group).count(), 2);
    let alone: Vec<_> = topology.standalone_slaves().map(|unit| &unit.name).collect();
    assert_eq!(alone, ["alone"]);
}

#[test]
fn an_unknown_field_is_an_error_with_its_line() {
    let Err(Error::TopologySyntax { source, .. }) =
        parse(&GOOD.replacen("external", "extrenal", 1))
    else {
        panic!("accepted");
    };
    let text = source.to_string();
    assert!(text.contains("extrenal") && text.contains("line"), "{text}");
}

#[test]
fn a_slave_that_is_not_defined_is_named_with_its_line() {
    let text = problem("\"s1\", \"s2\"", "\"s1\", \"s2\", \"s9\"");
    assert_eq!(text, "line 27: proxy group g1: no unit \"s9\" is defined");
}

#[test]
fn two_units_cannot_share_an_address() {
    let text = problem("10.0.0.5", "10.0.0.3");
    assert!(text.contains("line 23: unit alone: 10.0.0.3 is the address of unit s1"), "{text}");
}

#[test]
fn a_slave_is_in_one_group_only() {
    let more = "[[proxy_group]]\nname = \"g2\"\nproxy = \"p2\"\nslaves = [\"s1\"]\n[[unit]]\nname = \"p2\"\nrole = \"proxy\"\naddress = \"10.0.0.9\"\n[[source_group]]\nname = \"site\"\nproxy_groups = [\"g1\", \"g2\"]";
    let text = problem("[[source_group]]\nname = \"site\"\nproxy_groups = [\"g1\"]", more);
    assert_eq!(text, "line 31: unit s1 is in proxy group g1 and in g2; it can be in one");
}

#[test]
fn a_group_needs_slaves() {
    let text = problem("[\"s1\", \"s2\"]", "[]");
    assert!(text.contains("proxy group g1 has no slaves"), "{text}");
}

#[test]
fn the_primary_is_one_of_the_groups() {
    let text = problem("primary = \"g1\"", "primary = \"g7\"");
    assert_eq!(
        text,
        "line 31: source group site: the primary \"g7\" is not among its proxy_groups"
    );
}

#[test]
fn a_slave_has_an_address_of_each_version_that_its_proxy_takes() {
    let text = problem("10.0.0.2\"", "10.0.0.2\"\naddress6 = \"fd00::2\"");
    assert_eq!(
        text,
        "line 28: slave s2 has no IPv6 address, but proxy p1 takes IPv6 exporters: \
         their records could not go there"
    );
    let text = problem("10.0.0.4", "fd00::4");
    assert!(text.contains("slave s2 has no IPv4 address, but proxy p1"), "{text}");
}

#[test]
fn there_is_a_master_to_ask() {
    let alone = "[[unit]]\nname = \"s1\"\nrole = \"slave\"\naddress = \"10.0.0.3\"\n";
    for (file, told) in [("", "no unit is defined"), (alone, "no unit is a master")] {
        let refused = parse(file).unwrap_err().to_string();
        assert!(refused.contains(&format!("line 1: {told}")), "{refused}");
    }
}

#[test]
fn a_listening_port_leaves_room_for_the_offset() {
    let text = problem("slaves = [", "listen = [35536]\nslaves = [");
    assert!(text.starts_with("line 27: proxy group g1: listening port 35536"), "{text}");
}

#[test]
fn a_proxy_group_outside_every_source_group_would_never_be_asked() {
    let text = problem("proxy_groups = [\"g1\"]\nprimary = \"g1\"", "proxy_groups = []");
    assert!(text.contains("proxy group g1 is in no source group"), "{text}");
}

#[test]
fn a_role_must_fit_its_place() {
    let text = problem("proxy = \"p1\"", "proxy = \"m1\"");
    assert!(text.contains("unit m1 is a master, but stands where a proxy belongs"), "{text}");
    assert!(text.contains("proxy p1 is in no proxy group"), "{text}");
}

#[test]
fn a_unit_is_asked_for_by_name_and_role() {
    let topology = parse(GOOD).unwrap();
    let unknown = topology.own("s7", Role::Slave).unwrap_err().to_string();
    assert!(unknown.contains("m1, p1, s1, s2, alone"), "{unknown}");
    let wrong = topology.own("s1", Role::Proxy).unwrap_err().to_string();
    assert!(wrong.contains("start it with `weir slave`"), "{wrong}");
}

#[test]
fn a_slave_has_a_weight_and_can_be_drained() {
    let text = GOOD.replacen("10.0.0.3\"", "10.0.0.3\"\nweight = 3\ndrain = true", 1);
    let topology = parse(&text).unwrap();
    let (s1, s2) = (topology.unit("s1").unwrap(), topology.unit("s2").unwrap());
    assert_eq!((s1.weight, s1.drain, s2.weight, s2.drain), (3, true, 1, false));
    let told = problem("10.0.0.3\"", "10.0.0.3\"\nweight = 0");
    assert!(
        told.contains("line 14: unit s1: weight 0 is not from 1 to 100; for a slave"),
        "{told}"
    );
    let told = problem("10.0.0.1\"", "10.0.0.1\"\ndrain = true");
    assert_eq!(told, "line 6: unit m1: only a slave can be drained");
    let told = problem("10.0.0.5\"", "10.0.0.5\"\nprobe = false");
    assert!(told.contains("only an external slave is probed"), "{told}");
}

#[test]
fn a_group_whose_slaves_are_all_drained_cannot_work() {
    let text = GOOD.replace("10.0.0.3\"", "10.0.0.3\"\ndrain = true");
    let text = text.replace("10.0.0.4\"", "10.0.0.4\"\ndrain = true");
    let told = parse(&text).unwrap_err().to_string();
    assert!(told.contains("every slave of proxy group g1 is drained"), "{told}");
}

#[test]
fn a_group_has_at_most_64_slaves() {
    let names: Vec<_> = (0..65).map(|n| format!("\"x{n}\"")).collect();
    let told = problem("\"s1\", \"s2\"", &names.join(", "));
    assert!(told.contains("has 65 slaves; a proxy deals to 64 at most"), "{told}");
}

/// The good file with a gate.
fn gated(gate: &str) -> String {
    GOOD.replacen("[[source_group]]", &format!("[[proxy_group.port]]\n{gate}\n[[source_group]]"), 1)
}

#[test]
fn a_gate_says_who_is_let_in_and_where_copies_go() {
    let text = gated(
        "port = 4739\nallow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\nformats = [\"ipfix\"]\n\
         copies = [{ to = \"10.1.1.1:9995\" }, { to = \"10.1.1.2:9995\", source = \"proxy\", mtu = 9000 }]\n\
         log_refused = 1000",
    );
    let topology = parse(&text).unwrap();
    let group = topology.proxy_group("g1").unwrap();
    assert_eq!(group.listen, [4739], "a gate is a listening port, and the usual one stays away");
    let gate = &group.gates[0];
    assert_eq!(gate.allow.as_ref().unwrap().len(), 2);
    assert_eq!((gate.formats.as_deref(), gate.log_refused), (Some(&[Format::Ipfix][..]), 1000));
    assert_eq!(gate.copies[0].source, CopySource::Exporter);
    assert_eq!((gate.copies[1].source, gate.copies[1].mtu), (CopySource::Proxy, 9000));
    let both = text.replace("slaves = [\"s1\"", "listen = [2055, 4739]\nslaves = [\"s1\"");
    assert_eq!(parse(&both).unwrap().proxy_group("g1").unwrap().listen, [2055, 4739]);
}

/// The problems of the good file with this gate, whose first line is 28.
fn gate_problem(gate: &str) -> String {
    parse(&gated(gate)).unwrap_err().to_string()
}

#[test]
fn a_gate_that_cannot_work_is_told_with_its_line() {
    for (gate, told) in [
        ("port = 0", "line 29: proxy group g1: listening port 0"),
        ("port = 1\nallow = [\"10.1.0.0/8\"]", "line 30: port 1: \"10.1.0.0/8\" has bits beyond"),
        ("port = 1\nallow = []", "line 30: port 1 lets nobody in"),
        ("port = 1\nformats = []", "line 30: port 1 lets no format in"),
        (
            "port = 1\n[[proxy_group.port]]\nport = 1",
            "line 31: proxy group g1 describes port 1 twice",
        ),
        (
            "port = 1\ncopies = [{ to = \"[fd00::1]:1\" }]",
            "line 30: port 1: a copy to [fd00::1]:1 goes by IPv6, but proxy p1 has no IPv6 address",
        ),
        ("port = 1\ncopies = [{ to = \"10.0.0.2:1\" }]", "comes back to this proxy"),
        ("port = 1\ncopies = [{ to = \"10.0.0.9:1\", mtu = 10 }]", "an MTU of 10 bytes"),
        (
            "port = 1\nformats = [\"netflow4\"]",
            "expected one of `netflow1`, `netflow5`, `netflow6`",
        ),
        (
            "port = 1\ncopies = [{ to = \"10.0.0.9:1\", source = \"mine\" }]",
            "expected `exporter` or `proxy`",
        ),
    ] {
        let found = gate_problem(gate);
        assert!(found.contains(told), "{gate}: {found}");
    }
}

#[test]
fn sources_are_assigned_to_slaves_of_the_group() {
    let assign = "distribution = \"flow-source\"\nassign = { \"192.0.2.1\" = \"s2\" }\nslaves = [";
    let topology = parse(&GOOD.replacen("slaves = [", assign, 1)).unwrap();
    let group = topology.proxy_group("g1").unwrap();
    assert_eq!(group.assigned[&IpAddr::from([192, 0, 2, 1])], "s2");
    let told = problem("slaves = [", &assign.replace("s2", "alone"));
    assert_eq!(
        told,
        "line 28: proxy group g1: 192.0.2.1 is assigned to \"alone\", which is none of its slaves: s1, s2"
    );
    let told = problem("slaves = [", &assign.replace("flow-source", "round-robin"));
    assert!(told.contains("under distribution = \"flow-source\" only"), "{told}");
    let told = problem("slaves = [", &assign.replace("192.0.2.1", "router"));
    assert!(told.contains("\"router\" is no address of an exporter"), "{told}");
}

#[test]
fn sampling_rates_are_given_by_exporter_and_interface() {
    let text = format!(
        "{GOOD}[[sampling]]\nsource = \"192.0.2.0/24\"\nrate = 1000\n\
         [[sampling]]\nsource = \"2001:db8::1\"\ninterface = 7\nrate = 10\n"
    );
    let samplings = parse(&text).unwrap().samplings;
    assert_eq!((samplings[0].source.to_string(), samplings[0].rate), ("192.0.2.0/24".into(), 1000));
    assert_eq!((samplings[1].source.length, samplings[1].interface), (128, Some(7)));
    let refused =
        |words: &str| parse(&format!("{GOOD}[[sampling]]\n{words}\n")).unwrap_err().to_string();
    let told = refused("source = \"192.0.2.1\"\nrate = 0");
    assert!(told.contains("line 34: sampling: a rate of 0"), "{told}");
    let told = refused("source = \"router\"\nrate = 2");
    assert!(told.contains("line 33: sampling: \"router\" is no network"), "{told}");
    let twice =
        "source = \"192.0.2.1\"\nrate = 2\n[[sampling]]\nsource = \"192.0.2.1/32\"\nrate = 3";
    let told = refused(twice);
    assert!(told.contains("line 36: sampling: the rate of 192.0.2.1/32 is given twice"), "{told}");
}

#[test]
fn a_slave_may_keep_one_record_in_so_many() {
    let text = GOOD.replacen("10.0.0.3\"", "10.0.0.3\"\nkeep_one_in = 10", 1);
    let topology = parse(&text).unwrap();
    let kept = |name| topology.unit(name).unwrap().keep_one_in;
    assert_eq!((kept("s1"), kept("alone")), (10, 1));
    let told = problem("10.0.0.3\"", "10.0.0.3\"\nkeep_one_in = 0");
    assert!(told.contains("unit s1: keep_one_in 0 is not from 1, which keeps all"), "{told}");
    let told = problem("10.0.0.4\"", "10.0.0.4\"\nkeep_one_in = 5");
    assert!(told.contains("unit s2: only weir's own slaves keep one flow record"), "{told}");
}

const STREAM: &str = "slaves = [\"s1\", \"s2\"]\n[proxy_group.stream]\n";

/// The good file with these words for connections.
fn with_stream(words: &str) -> String {
    GOOD.replacen("slaves = [\"s1\", \"s2\"]\n", &format!("{STREAM}{words}\n"), 1)
}

fn stream_problem(words: &str) -> String {
    match parse(&with_stream(words)) {
        Err(Error::Topology { problems, .. }) => {
            problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn ports_for_connections_are_read_and_slaves_receive_at_their_offset() {
    let text = with_stream(
        "tcp = [4739]\ntls = [4740]\ncertificate = \"p1.pem\"\nkey = \"/keys/p1.key\"\n\
         client_ca = \"ca.pem\"\nclient_names = [\"r1.example.net\"]\nidle_s = 600",
    );
    let topology = Topology::parse(&text, Path::new("/etc/weir/weir.toml")).unwrap();
    let group = topology.proxy_group("g1").unwrap();
    let stream = group.stream.as_ref().unwrap();
    assert_eq!((&stream.tcp[..], &stream.tls[..]), (&[4739][..], &[4740][..]));
    assert_eq!((stream.connections, stream.connections_per_source), (512, 64));
    assert_eq!(stream.idle, Some(std::time::Duration::from_secs(600)));
    let files = stream.files.as_ref().unwrap();
    assert_eq!(files.certificate, Path::new("/etc/weir/p1.pem"));
    assert_eq!(files.key, Path::new("/keys/p1.key"));
    assert_eq!(files.client_ca.as_deref(), Some(Path::new("/etc/weir/ca.pem")));
    assert_eq!(files.client_names, ["r1.example.net"]);
    assert_eq!(group.listen, [2055]);
    assert_eq!(group.slave_ports(), [32_055, 34_739, 34_740]);
}

#[test]
fn a_gate_of_a_port_for_connections_opens_no_udp_port() {
    let gate = "\n[[proxy_group.port]]\nport = 4739\nallow = [\"10.0.0.0/8\"]";
    let topology = parse(&with_stream(&format!("tcp = [4739]\n{gate}"))).unwrap();
    assert_eq!(topology.proxy_group("g1").unwrap().listen, [2055]);
    let wrong = stream_problem(&format!("tcp = [4739]\n{gate}\nformats = [\"netflow9\"]"));
    assert!(wrong.contains("lets no ipfix in"), "{wrong}");
}

#[test]
fn what_cannot_work_of_connections_is_told() {
    let files = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    for (words, said) in [
        ("", "names no port"),
        ("tcp = [4739, 4739]", "names TCP port 4739 twice"),
        ("tcp = [4739]\ntls = [4739]\ncertificate = \"a\"\nkey = \"b\"", "4739 twice"),
        ("tcp = [40000]", "is not from 1 to"),
        ("tls = [4740]", "TLS needs `certificate` and `key`"),
        ("tls = [4740]\nkey = \"a.key\"", "TLS needs `certificate` and `key`"),
        ("tcp = [4739]\nkey = \"a.key\"", "belong together"),
        ("tcp = [4739]\nclient_ca = \"ca.pem\"", "client_ca needs"),
        (&format!("tls = [4740]\n{files}client_names = [\"r1\"]"), "`client_ca` must vouch for"),
        ("tcp = [4739]\nconnections = 0", "would let nobody connect"),
        ("tcp = [4739]\nidle_s = 0", "leave it out for never"),
    ] {
        let problem = stream_problem(words);
        assert!(problem.contains(said), "{words:?}: {problem}");
    }
}
