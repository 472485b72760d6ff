@0xc9c9bec52a543961;
# Control of units, TCP port 2210.
#
# A new version only adds: fields at the end of a struct, methods at the end of an interface. A field
# that the peer does not know reads as its default; a method that it does not know fails as
# `unimplemented`, which the caller takes as "an older unit". `Unit.protocol` is for the day when that
# does not suffice.

enum Role {
  unknown @0;
  master @1;
  proxy @2;
  slave @3;
  console @4;
}

struct Unit {
  # Who is speaking.

  name @0 :Text;
  # As in the topology; empty for a console.

  role @1 :Role;

  instance @2 :UInt64;
  # Random for each start of the process: another number means that the peer has forgotten everything.

  version @3 :Text;
  # Of the software, for people.

  protocol @4 :UInt32;
  # Of these schemas: weir_rpc::PROTOCOL.
}

interface Control {
  # The bootstrap interface of port 2210.

  attach @0 (peer :Unit) -> (unit :Unit);
  # Says who calls and learns who answers. A proxy attaches to each of its slaves before it deals
  # them records; the connection is then their lease.

  ping @1 () -> (instance :UInt64);
  # Renews the lease. Answered by the RPC thread itself, which never waits for disk or queries.

  reload @2 () -> (changes :List(Text));
  # Reads the topology file again; answers with what has changed, in sentences. A file that cannot
  # work fails the call with its problems, and nothing changes.
}
