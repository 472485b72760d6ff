/* SPDX-License-Identifier: Apache-2.0 */
/* What the XDP program and user space must agree on. src/abi.rs mirrors this file; loading compares
 * the sizes of the maps with it. */
#ifndef WEIR_ABI_H
#define WEIR_ABI_H

#include <linux/types.h>

/* Receive queues that can have a socket. */
#define WEIR_QUEUES_MAX 256
/* Local addresses whose datagrams are redirected. */
#define WEIR_ADDRESSES_MAX 1024
/* The listening ports are a bitmap of words of 64. */
#define WEIR_PORT_WORDS 1024

/* Where a frame went, and why. One counter each, per cpu. */
enum weir_verdict {
	WEIR_REDIRECTED,       /* to this queue's socket */
	WEIR_PASSED_QUEUE,     /* it was ours, but its queue has no socket */
	WEIR_PASSED_PORT,      /* UDP to a port that nobody listens on here */
	WEIR_PASSED_ADDRESS,   /* a listening port, but another host's address */
	WEIR_PASSED_FRAGMENT,  /* a piece of an IP packet: the kernel reassembles */
	WEIR_PASSED_OTHER,     /* no UDP over IP, or behind more headers than are walked */
	WEIR_PASSED_TRUNCATED, /* it ends within a header, or a header contradicts itself */
	WEIR_VERDICTS,
};

/* An address; IPv4 as ::ffff:a.b.c.d. */
struct weir_address {
	__u8 octets[16];
};

#endif
