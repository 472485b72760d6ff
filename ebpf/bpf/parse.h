/* SPDX-License-Identifier: Apache-2.0 */
/* From a frame to the destination of its UDP datagram. Looks at no more than it must: lengths and
 * checksums are checked in user space, where a bad one is counted. */
#ifndef WEIR_PARSE_H
#define WEIR_PARSE_H

#include <linux/bpf.h>

#include "maps.h"

#define VLAN_TAGS_MAX 2
#define IPV6_EXTENSIONS_MAX 6

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_SERVICE_VLAN 0x88a8

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_DESTINATION_OPTIONS 60

#define swap16(value) __builtin_bswap16(value)


struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
};

struct vlan_tag {
	__u16 control;
	__u16 type;
};

struct ipv4 {
	__u8 version_length;
	__u8 service;
	__u16 total_length;
	__u16 identification;
	__u16 flags_offset;
	__u8 time_to_live;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u8 version_class[4];
	__u16 payload_length;
	__u8 next;
	__u8 hop_limit;
	__u32 source[4];
	__u32 destination[4];
};

struct extension {
	__u8 next;
	__u8 length;
	__u8 rest[6];
};

struct udp {
	__u16 source;
	__u16 destination;
	__u16 length;
	__u16 checksum;
};

/* What was found. Only copies of it are given to maps, so it need not lie in memory. */
struct datagram {
	struct weir_address destination;
	__u16 port; /* in host order */
	__u16 type; /* of the Ethernet frame's payload, in host order */
	__u32 at;   /* where its IP packet starts */
	__u32 bare; /* whether the IP header has neither options nor extensions */
};

static always_inline struct weir_address mapped(__u32 word)
{
	struct weir_address address;

	address.halves[0] = 0;
	/* As it lies in memory: ffff, then the word. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	address.halves[1] = (__u64)word << 32 | 0xffff0000;
#else
	address.halves[1] = 0xffff00000000 | word;
#endif
	return address;
}

static always_inline struct weir_address address(const __u32 *words)
{
	struct weir_address address;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	address.halves[0] = (__u64)words[1] << 32 | words[0];
	address.halves[1] = (__u64)words[3] << 32 | words[2];
#else
	address.halves[0] = (__u64)words[0] << 32 | words[1];
	address.halves[1] = (__u64)words[2] << 32 | words[3];
#endif
	return address;
}

static always_inline int equal(const struct weir_address *a, const struct weir_address *b)
{
	return a->halves[1] == b->halves[1] && a->halves[0] == b->halves[0];
}

struct cursor {
	void *at;
	void *end;
};

/* The header of `size` bytes at the cursor, which moves behind it; 0 when the frame ends first. */
static always_inline void *take(struct cursor *cursor, __u32 size)
{
	void *header = cursor->at;

	if (header + size > cursor->end)
		return 0;
	cursor->at = header + size;
	return header;
}

/* The type behind up to two VLAN tags, in host order. Returns a verdict, or -1 to go on. */
static always_inline int parse_ethernet(struct cursor *cursor, struct datagram *datagram)
{
	struct ethernet *header = take(cursor, sizeof(*header));
	int i;

	if (!header)
		return WEIR_PASSED_TRUNCATED;
	datagram->at = sizeof(*header);
	datagram->type = swap16(header->type);
#pragma unroll
	for (i = 0; i < VLAN_TAGS_MAX; i++) {
		struct vlan_tag *tag;

		if (datagram->type != ETHERTYPE_VLAN && datagram->type != ETHERTYPE_SERVICE_VLAN)
			break;
		tag = take(cursor, sizeof(*tag));
		if (!tag)
			return WEIR_PASSED_TRUNCATED;
		datagram->at += sizeof(*tag);
		datagram->type = swap16(tag->type);
	}
	return -1;
}

static always_inline int parse_ipv4(struct cursor *cursor, struct datagram *datagram)
{
	struct ipv4 *header = take(cursor, sizeof(*header));
	void *end_of_header;

	if (!header)
		return WEIR_PASSED_TRUNCATED;
	if (header->version_length < 0x45 || header->version_length > 0x4f)
		return WEIR_PASSED_TRUNCATED;
	/* More fragments, or an offset. */
	if (header->flags_offset & swap16(0x3fff))
		return WEIR_PASSED_FRAGMENT;
	if (header->protocol != PROTOCOL_UDP)
		return WEIR_PASSED_OTHER;
	datagram->bare = header->version_length == 0x45;
	datagram->destination = mapped(header->destination);
	/* From the header's start: so the verifier sees that the length cannot be negative. */
	end_of_header = (void *)header + (header->version_length & 0x0f) * 4;
	if (end_of_header > cursor->end)
		return WEIR_PASSED_TRUNCATED;
	cursor->at = end_of_header;
	return -1;
}

static always_inline int parse_ipv6(struct cursor *cursor, struct datagram *datagram)
{
	struct ipv6 *header = take(cursor, sizeof(*header));
	__u8 next;
	int i;

	if (!header)
		return WEIR_PASSED_TRUNCATED;
	if (header->version_class[0] >> 4 != 6)
		return WEIR_PASSED_TRUNCATED;
	datagram->destination = address(header->destination);
	next = header->next;
	datagram->bare = next == PROTOCOL_UDP;
	for (i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		struct extension *extension;
		__u32 rest;

		if (next == PROTOCOL_UDP)
			return -1;
		if (next == PROTOCOL_FRAGMENT)
			return WEIR_PASSED_FRAGMENT;
		if (next != PROTOCOL_HOP_BY_HOP && next != PROTOCOL_ROUTING &&
		    next != PROTOCOL_AUTHENTICATION && next != PROTOCOL_DESTINATION_OPTIONS)
			return WEIR_PASSED_OTHER;
		extension = take(cursor, sizeof(*extension));
		if (!extension)
			return WEIR_PASSED_TRUNCATED;
		/* In units of 8 octets beyond the first; RFC 4302 counts units of 4, less 2. */
		if (next == PROTOCOL_AUTHENTICATION)
			rest = extension->length ? extension->length * 4 : 0;
		else
			rest = extension->length * 8;
		if (cursor->at + rest > cursor->end)
			return WEIR_PASSED_TRUNCATED;
		cursor->at += rest;
		next = extension->next;
	}
	return next == PROTOCOL_UDP ? -1 : WEIR_PASSED_OTHER;
}

/* Finds the UDP datagram's destination. Returns a verdict to pass by, or -1 when it was found. */
static always_inline int parse(struct cursor *cursor, struct datagram *datagram)
{
	struct udp *header;
	int verdict = parse_ethernet(cursor, datagram);

	if (verdict >= 0)
		return verdict;
	if (datagram->type == ETHERTYPE_IPV4)
		verdict = parse_ipv4(cursor, datagram);
	else if (datagram->type == ETHERTYPE_IPV6)
		verdict = parse_ipv6(cursor, datagram);
	else
		verdict = WEIR_PASSED_OTHER;
	if (verdict >= 0)
		return verdict;
	header = take(cursor, sizeof(*header));
	if (!header)
		return WEIR_PASSED_TRUNCATED;
	datagram->port = swap16(header->destination);
	return -1;
}

#endif
