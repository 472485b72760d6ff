/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram's headers made those of a datagram to its slave, in place. Its source stays. Checksums
 * are updated, never computed: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3). So one that was wrong
 * stays wrong, and the slave tells. */
#ifndef WEIR_REWRITE_H
#define WEIR_REWRITE_H

#include "parse.h"

/* As user space sends. */
#define TIME_TO_LIVE 64

struct headers4 {
	struct ipv4 ip;
	struct udp udp;
};

struct headers6 {
	struct ipv6 ip;
	struct udp udp;
};

/* A sum in ones' complement, of words of up to 32 bits, as 16 bits. */
static always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* What a sum grows by when a word or half word changes. */
static always_inline __u64 changed32(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

static always_inline __u64 changed16(__u16 from, __u16 to)
{
	return (__u64)(__u16)~from + to;
}

/* Sets the port; `change` is what the pseudo header's sum grew by. A checksum of 0 is none (RFC 768),
 * so a sum that comes to it is sent as its other representation. */
static always_inline void rewrite_udp(struct udp *udp, __u16 port, __u64 change)
{
	__u16 checksum;

	change += changed16(udp->destination, port);
	udp->destination = port;
	if (!udp->checksum)
		return;
	checksum = ~fold((__u16)~udp->checksum + change);
	udp->checksum = checksum ? checksum : 0xffff;
}

static always_inline void rewrite4(struct headers4 *headers, __u32 destination, __u16 port)
{
	__u64 change = changed32(headers->ip.destination, destination);
	/* The checksum's word is time to live and protocol. */
	__u64 life = changed16(headers->ip.time_to_live, TIME_TO_LIVE);

	headers->ip.time_to_live = TIME_TO_LIVE;
	headers->ip.destination = destination;
	headers->ip.checksum = ~fold((__u16)~headers->ip.checksum + change + life);
	rewrite_udp(&headers->udp, port, change);
}

static always_inline void rewrite6(struct headers6 *headers, const __u32 *destination, __u16 port)
{
	__u64 change = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		change += changed32(headers->ip.destination[i], destination[i]);
		headers->ip.destination[i] = destination[i];
	}
	headers->ip.hop_limit = TIME_TO_LIVE;
	rewrite_udp(&headers->udp, port, change);
}

/* Writes the Ethernet header in front of the IP packet at `at`. Tags go: they are the exporter's
 * network's. Afterwards pointers into the frame are stale. False when the frame cannot be changed. */
static always_inline int rewrite_ethernet(struct xdp_md *context, __u32 at, const __u8 *addresses,
					  __u16 type)
{
	struct ethernet *header;

	if (at != sizeof(*header) && bpf_xdp_adjust_head(context, at - sizeof(*header)))
		return 0;
	header = (void *)(long)context->data;
	if ((void *)(header + 1) > (void *)(long)context->data_end)
		return 0;
	__builtin_memcpy(header, addresses, 12);
	header->type = swap16(type);
	return 1;
}

#endif
