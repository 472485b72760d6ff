@0xc158ccdabb1036c5;
# Questions and status, TCP port 4210: the same interface at slave, proxy and master.

using Control = import "control.capnp";

struct Question {
  # What is asked, in words: a unit of another version refuses what it does not know by name.

  filter @0 :Text;
  # In nfdump's language; empty matches every flow.

  fromMs @1 :UInt64;
  # Flows that began at this time or later, ms since 1970; 0 is no bound.

  untilMs @2 :UInt64;
  # Flows that ended at this time or earlier, ms since 1970; 0 is no bound.

  limit @3 :UInt32;
  # Rows wanted; 0 is no limit but the unit's own.

  view :union {
    flows @4 :Void;
    statistic :group {
      keys @5 :List(Text);
      # Names of the elements to group by.

      order @6 :Text;
      # Name of the measure to rank by.
    }
  }
}

struct UnitAnswer {
  # How one slave fared with a question.

  name @0 :Text;
  through @1 :Text;
  # The proxy that asked it; empty when it was asked directly.

  answered @2 :Bool;
  reason @3 :Text;
  # Why it did not answer.

  elapsedMs @4 :UInt32;
}

struct Coverage {
  # What an answer is made of: every slave that should have answered stands here once.

  units @0 :List(UnitAnswer);
}

interface Chunks {
  # The rest of an answer that is larger than one message.

  next @0 () -> (data :Data);
  # Empty at the end.
}

interface Query {
  # The bootstrap interface of port 4210.

  ask @0 (question :Question, deadlineMs :UInt32)
      -> (coverage :Coverage, size :UInt64, first :Data, rest :Chunks);
  # The partial answer in weir-store's own encoding, `size` bytes; `rest` is null when `first` is
  # all of it. A filter that makes no sense fails the call; units that do not answer within the
  # deadline do not: they are named in the coverage.

  status @1 (deadlineMs :UInt32) -> (status :Status);

  ping @2 () -> ();
  # Whether the unit lives while it works on an answer.
}

struct Status {
  # A unit, and the units behind it.

  name @0 :Text;
  role @1 :Control.Role;
  address @2 :Text;
  up @3 :Bool;
  reason @4 :Text;
  # Why it is down.

  version @5 :Text;
  instance @6 :UInt64;
  startedMs @7 :UInt64;
  # ms since 1970.

  backend @8 :Text;
  # The packet I/O in use; empty where there is none.

  listen @9 :List(UInt16);
  # UDP ports.

  traffic @10 :Traffic;
  # Null where a unit has no packet path.

  slaves @11 :List(Delivery);
  # A proxy's view of its slaves.

  sessions @12 :List(Session);
  # Transport sessions, the busiest first.

  sessionsOmitted @13 :UInt32;
  store @14 :Store;
  # Null where a unit stores nothing.

  service @15 :Service;
  units @16 :List(Status);
  storing @17 :Traffic;
  # A slave's second stage, from the ring to the store; null elsewhere.

  backendSentence @18 :Text;
  # What the packet I/O became, and why nothing better.

  workers @19 :List(Worker);
  verdicts @20 :List(Verdict);
  # The XDP program's, without those that never were.

  latency @21 :Latency;
  # Null where nothing is passed on.

  devices @22 :List(Device);
  sources @23 :List(Source);
  # What is forwarded in the kernel by source, the busiest first.

  sourcesOmitted @24 :UInt32;
  streams @25 :Streams;
  # Null where no exporter can connect.
}

struct Streams {
  # Connections of exporters: IPFIX over TCP and TLS.

  ports @0 :List(StreamPort);
  accepted @1 :UInt64;
  # Those open and those ended.

  open @2 :UInt64;
  ended @3 :List(Ended);
  messages @4 :UInt64;
  # Whole ones, handed to the packet path.

  bytes @5 :UInt64;
  bytesCut @6 :UInt64;
  # They came and were no whole message.

  connections @7 :List(StreamConnection);
  # Open ones, the busiest first.

  connectionsOmitted @8 :UInt32;

  struct Ended {
    reason @0 :Text;
    count @1 :UInt64;
  }
}

struct StreamPort {
  port @0 :UInt16;
  tls @1 :Bool;
}

struct StreamConnection {
  exporter @0 :Text;
  # Address and port.

  name @1 :Text;
  # That of its certificate, where one is asked for.

  port @2 :UInt16;
  transport @3 :Text;
  messages @4 :UInt64;
  bytes @5 :UInt64;
  misuses @6 :UInt64;
  sinceMs @7 :UInt64;
  # ms since 1970.

  lastMs @8 :UInt64;
  # 0 for never.
}

struct Worker {
  # One thread of the packet path.

  name @0 :Text;
  core @1 :Int32 = -1;
  # -1 where it is pinned to none.

  datagramsReceived @2 :UInt64;
  datagramsDropped @3 :UInt64;
  handedOver @4 :UInt64;
  recordsDecoded @5 :UInt64;
  messagesSent @6 :UInt64;
}

struct Verdict {
  name @0 :Text;
  meaning @1 :Text;
  count @2 :UInt64;
}

struct Latency {
  # Of messages to slaves, from the burst that brought their first record to the flush that sent
  # them; nanoseconds.

  messages @0 :UInt64;
  p50Ns @1 :UInt64;
  p99Ns @2 :UInt64;
  p999Ns @3 :UInt64;
  maxNs @4 :UInt64;
}

struct Device {
  # What a network device itself lost since the unit started.

  name @0 :Text;
  rxDropped @1 :UInt64;
  rxMissed @2 :UInt64;
  rxErrors @3 :UInt64;
  txDropped @4 :UInt64;
  txErrors @5 :UInt64;
}

struct Source {
  address @0 :Text;
  port @1 :UInt16;
  # The listening port.

  rule @2 :Text;
  packets @3 :UInt64;
  bytes @4 :UInt64;
}

struct Traffic {
  # The counters of weir-dataplane, summed over the unit's workers.

  datagramsReceived @0 :UInt64;
  datagramsDropped @1 :UInt64;
  datagramsAccepted @2 :UInt64;
  messagesSent @3 :UInt64;
  templatesReceived @4 :UInt64;
  recordsDecoded @5 :UInt64;
  recordsDelivered @6 :UInt64;
  recordsInFlight @7 :UInt64;
  optionsDecoded @8 :UInt64;
  sequenceLost @9 :UInt64;
  sequenceResets @10 :UInt64;
  discarded @11 :List(Discarded);
  messagesFailed @12 :UInt64;
  broadcastsFailed @13 :UInt64;
  setsHeld @14 :UInt64;
  handedOver @15 :UInt64;
  copiesSent @16 :UInt64;
  copiesFailed @17 :UInt64;
  templatesUnheard @18 :UInt64;
  newsLost @19 :UInt64;
  datagramsForwarded @20 :UInt64;
  # In the kernel; among the received and the accepted.
  counterSamples @21 :UInt64;
  samplesUnknown @22 :UInt64;
  ratesRefused @23 :UInt64;
  namesLost @24 :UInt64;
}

struct Discarded {
  reason @0 :Text;
  unit @1 :Kind;
  count @2 :UInt64;

  enum Kind {
    datagram @0;
    set @1;
    record @2;
  }
}

struct Delivery {
  name @0 :Text;
  address @1 :Text;
  external @2 :Bool;
  healthy @3 :Bool;
  reason @4 :Text;
  messages @5 :UInt64;
  records @6 :UInt64;
  options @7 :UInt64;
  changedMs @8 :UInt64;
  # Since when it is healthy or not, ms since 1970.

  losses @9 :UInt64;
  # How often it went away.

  weight @10 :UInt16;
  drained @11 :Bool;
  forwarded @12 :UInt64;
  # Datagrams that the kernel forwarded to it.
}

struct Session {
  exporter @0 :Text;
  # Address and port.

  port @1 :UInt16;
  # The listening port.

  protocol @2 :Text;
  domain @3 :UInt32;
  datagrams @4 :UInt64;
  records @5 :UInt64;
  lost @6 :UInt64;
  resets @7 :UInt64;
  templates @8 :UInt32;
  lastSeenMs @9 :UInt64;
  transport @10 :Text;
  # udp, tcp or tls.
}

struct Store {
  directory @0 :Text;
  segments @1 :UInt64;
  sealedRows @2 :UInt64;
  memoryRows @3 :UInt64;
  bytes @4 :UInt64;
  sealFailures @5 :UInt64;
  lastError @6 :Text;
  # Empty when all is well.

  names @7 :UInt64;
  refusedNames @8 :UInt64;
}

struct Service {
  # The unit's RPC listeners.

  connections @0 :UInt32;
  accepted @1 :UInt64;
  refused @2 :UInt64;
  # Over the bound on connections.

  broken @3 :UInt64;
  # Closed for garbage, oversize, too many calls, or silence.
}
