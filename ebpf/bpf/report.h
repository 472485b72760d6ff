/* SPDX-License-Identifier: Apache-2.0 */
/* What user space is told of datagrams that it does not see: that a source is new, and messages that
 * bear templates. Never waits: what finds the ring full is counted. */
#ifndef WEIR_REPORT_H
#define WEIR_REPORT_H

#include "parse.h"

#define VERSION_NETFLOW5 5
#define VERSION_NETFLOW9 9
#define VERSION_IPFIX 10
#define HEADER_NETFLOW9 20
#define HEADER_IPFIX 16
/* Octets of a message that are walked at most. */
#define WALK_MAX 0x7fff

struct set {
	__u16 id;
	__u16 length;
};

/* What a datagram is, by its payload's first words; the bit of its format. */
static always_inline __u32 format(__u16 *words, __u32 length, void *end)
{
	if (length < 4 || (void *)(words + 2) > end)
		return WEIR_FORMAT_OTHER;
	switch (swap16(words[0])) {
	case VERSION_NETFLOW5:
		return WEIR_FORMAT_NETFLOW5;
	case VERSION_NETFLOW9:
		return WEIR_FORMAT_NETFLOW9;
	case VERSION_IPFIX:
		return WEIR_FORMAT_IPFIX;
	case 0: /* sFlow counts its versions in 32 bits. */
		return swap16(words[1]) == 5 ? WEIR_FORMAT_SFLOW : WEIR_FORMAT_OTHER;
	default:
		return WEIR_FORMAT_OTHER;
	}
}

/* Whether a message of `length` octets has a template set (RFC 3954, Sections 5.2 and 6.1: ids 0 and
 * 1; RFC 7011, Section 3.3.2: 2 and 3), or may have one behind what can be walked. */
static always_inline int may_bear_templates(void *payload, void *end, __u32 length, __u32 format)
{
	__u32 at, first;
	int i;

	if (format == WEIR_FORMAT_NETFLOW9) {
		at = HEADER_NETFLOW9;
		first = 0;
	} else if (format == WEIR_FORMAT_IPFIX) {
		at = HEADER_IPFIX;
		first = 2;
	} else {
		return 0;
	}
	for (i = 0; i < WEIR_SETS_MAX; i++) {
		struct set *set;
		__u32 id, size;

		/* Less than a set's header is padding. */
		if (at + sizeof(*set) > length)
			return 0;
		/* The verifier allows no larger offset into a frame than 64 KiB in all. */
		if (at > WALK_MAX)
			return 1;
		set = payload + at;
		if ((void *)(set + 1) > end)
			return 1;
		id = swap16(set->id);
		size = swap16(set->length);
		if (id - first <= 1 || size < sizeof(*set))
			return 1;
		at += size;
	}
	return at + sizeof(struct set) <= length;
}

struct report {
	struct weir_address source;
	__u16 source_port; /* in network order */
	__u16 port;
	__u32 flags;
	__u32 at;     /* of the payload in the frame */
	__u32 length; /* of the payload */
};

static always_inline void tell(struct xdp_md *context, struct weir_tally *tally,
			       const struct report *report)
{
	__u32 zero = 0, copied = 0;
	struct weir_event *event = bpf_map_lookup_elem(&scratch, &zero);

	if (!event)
		return;
	event->source = report->source;
	event->source_port = swap16(report->source_port);
	event->port = report->port;
	event->length = report->length;
	event->flags = report->flags;
	if (report->flags & WEIR_EVENT_COPY) {
		copied = report->length;
		if (copied > WEIR_COPY_MAX)
			copied = WEIR_COPY_MAX;
		if (copied < 1 || bpf_xdp_load_bytes(context, report->at, event->payload, copied)) {
			tally->unheard += 1;
			return;
		}
	}
	event->copied = copied;
	if (bpf_ringbuf_output(&events, event, WEIR_EVENT_HEADER + copied, 0))
		tally->unheard += 1;
}

#endif
