/* SPDX-License-Identifier: Apache-2.0 */
/* What the XDP program and user space must agree on. src/abi.rs mirrors this file; loading compares
 * the sizes of the maps with it. */
#ifndef WEIR_ABI_H
#define WEIR_ABI_H

#include <linux/types.h>

/* Receive queues that can have a socket. */
#define WEIR_QUEUES_MAX 256
/* Local addresses whose datagrams are taken. */
#define WEIR_ADDRESSES_MAX 1024
/* Slots that most pairs of local address and listening port are found in at once; a power of two. */
#define WEIR_LISTENERS 4096
/* Slaves that datagrams can be forwarded to. */
#define WEIR_SLAVES_MAX 64
/* Entries of a steering table: a prime. An entry is an octet, eight are a word of the map. */
#define WEIR_TABLE_LENGTH 16381
#define WEIR_TABLE_WORDS 2048
/* Octets of a message's payload that are copied to user space at most. */
#define WEIR_COPY_MAX 4096
/* Sets of a message that are walked at most. */
#define WEIR_SETS_MAX 16

/* Where a frame went, and why. One counter each, per cpu. Those for the socket
 * stand in a row. */
enum weir_verdict {
	WEIR_FORWARDED,         /* to its slave */
	WEIR_REFUSED_SOURCE,    /* dropped: user space lets no datagram of its source in */
	WEIR_REFUSED_FORMAT,    /* dropped: its port does not take its format */
	WEIR_REDIRECTED,        /* to this queue's socket, as its port's rule says */
	WEIR_SOCKET_NO_SLAVE,   /* to the socket: the table has no slave for its source */
	WEIR_SOCKET_UNRESOLVED, /* to the socket: no way to its slave is known, or it is just changing */
	WEIR_SOCKET_MTU,        /* to the socket: its slave's path is too narrow */
	WEIR_SOCKET_GATE,       /* to the socket: user space has yet to let its source in */
	WEIR_SOCKET_HEADERS,    /* to the socket: its headers cannot be rewritten in place */
	WEIR_PASSED_QUEUE,      /* it was for the socket, but its queue has none */
	WEIR_PASSED_PORT,       /* UDP to a port that nobody listens on here */
	WEIR_PASSED_ADDRESS,    /* a listening port, but another host's address */
	WEIR_PASSED_FRAGMENT,   /* a piece of an IP packet: the kernel reassembles */
	WEIR_PASSED_OTHER,      /* no UDP over IP, or behind more headers than are walked */
	WEIR_PASSED_TRUNCATED,  /* it ends within a header, or a header contradicts itself */
	WEIR_VERDICTS,
};

/* An address; IPv4 as ::ffff:a.b.c.d. */
struct weir_address {
	union {
		__u32 words[4];
		__u64 halves[2];
	};
};

/* A port's rule: 0 where nobody listens. */
#define WEIR_RULE_LISTEN 1u
#define WEIR_RULE_FORWARD 2u
#define WEIR_RULE_GATED 4u
/* The formats that it takes, as bits from here on. */
#define WEIR_RULE_FORMATS_SHIFT 8
#define WEIR_FORMAT_NETFLOW5 1u
#define WEIR_FORMAT_NETFLOW9 2u
#define WEIR_FORMAT_IPFIX 4u
#define WEIR_FORMAT_SFLOW 8u
#define WEIR_FORMAT_OTHER 128u
#define WEIR_FORMATS_ALL 255u

/* A local address and a listening port, in network order, with the port's rule; 0 in a slot that no
 * pair has. */
struct weir_listener {
	struct weir_address address;
	__u16 port;
	__u16 zero;
	__u32 rule;
};

/* A source of datagrams: address and listening port, both in network order. */
struct weir_source_key {
	struct weir_address address;
	__u64 port;
};

/* What to do with a source's datagrams: below WEIR_SLAVES_MAX they go to that slave. */
#define WEIR_SOURCE_BY_TABLE 0xffffu
#define WEIR_SOURCE_REFUSED 0xfffeu

/* A known source. One cpu at a time counts here, as one receive queue has all of a source's
 * datagrams. */
struct weir_source {
	struct weir_address address;
	__u16 port; /* 0 in a slot that nobody has */
	__u16 rule;
	__u32 seen; /* the lower half of jiffies */
	__u64 packets;
	__u64 bytes; /* of IP packets */
};

#define WEIR_HOP_RESOLVED 1u
/* Back out of the device that it came in by. */
#define WEIR_HOP_BOUNCE 2u

/* The way to a slave. */
struct weir_hop {
	__u8 ethernet[12]; /* destination and source */
	__u16 mtu;         /* of an IP packet */
	__u16 flags;
	__u32 address[4]; /* in network order; IPv4 in the first word */
};

/* The hop in use is that at `change & 1`. The other one is written first, then `change` grows by
 * one; who read both between two equal values of `change` has a whole hop. */
struct weir_slave {
	__u32 change;
	__u32 zero;
	struct weir_hop hops[2];
};

/* One moment by two clocks. */
struct weir_moment {
	__u64 jiffies;
	__u64 ns; /* CLOCK_MONOTONIC, to the tick */
};

/* The counters of a cpu. */
struct weir_tally {
	__u64 verdicts[WEIR_VERDICTS];
	__u64 unheard; /* events that found the ring full */
	struct {
		__u64 packets;
		__u64 bytes;
	} slaves[WEIR_SLAVES_MAX];
};

#define WEIR_EVENT_UNKNOWN 1u /* the source has no entry */
#define WEIR_EVENT_COPY 2u    /* `copied` octets of the UDP payload follow */

/* What user space is told of a forwarded datagram. */
struct weir_event {
	struct weir_address source; /* in network order */
	__u16 source_port;	    /* in host order, as is the rest */
	__u16 port;		    /* that it was sent to */
	__u32 length;		    /* of the UDP payload */
	__u32 copied;
	__u32 flags;
	__u8 payload[WEIR_COPY_MAX];
};

#define WEIR_EVENT_HEADER 32

#endif
