/* SPDX-License-Identifier: Apache-2.0 */
/* The flow-source model: a datagram goes to its source's slave without leaving the kernel. What the
 * kernel cannot do with it, user space can: it goes to the socket, and nothing is lost. */
#ifndef WEIR_FORWARD_H
#define WEIR_FORWARD_H

#include "hop.h"
#include "report.h"
#include "rewrite.h"
#include "steer.h"

/* What both IP versions have in common. */
struct flow {
	__u32 six;
	__u32 rule;
	__u32 length;    /* of the frame from its IP header on */
	__u32 ip_length; /* of the packet, less than or equal to it */
	__u64 hash;
	void *payload;
	void *end;
	struct report report;
};

/* What the frame has from its IP packet on, at `at`. The kernel is asked only when the packet is longer
 * than the frame's first part, as it is in a jumbo frame. */
static always_inline __u32 length(struct xdp_md *context, __u32 at, void *packet, void *end,
				  __u32 ip_length)
{
	__u32 first = (long)end - (long)packet;

	return ip_length <= first ? first : bpf_xdp_get_buff_len(context) - at;
}

/* Which way the flow's datagram goes; when forwarded, the hop and the XDP action, and user space is
 * told what it must know. */
static always_inline int decide(struct xdp_md *context, struct weir_tally *tally, struct flow *flow,
				struct weir_source *source, struct weir_hop *hop, int *action)
{
	__u32 formats = flow->rule >> WEIR_RULE_FORMATS_SHIFT;
	__u32 what = format(flow->payload, flow->report.length, flow->end);
	__u32 slave;
	int verdict;

	if (!(formats & what))
		return WEIR_REFUSED_FORMAT;
	/* Before the lookups, so that the processor waits for the payload and for them at a time. */
	if (may_bear_templates(flow->payload, flow->end, flow->report.length, what))
		flow->report.flags = WEIR_EVENT_COPY;
	if (source) {
		slave = source->rule;
		account(source, flow->ip_length);
		if (slave == WEIR_SOURCE_REFUSED)
			return WEIR_REFUSED_SOURCE;
		if (slave == WEIR_SOURCE_BY_TABLE)
			slave = table_slave(flow->six, flow->hash);
	} else {
		if (flow->rule & WEIR_RULE_GATED)
			return WEIR_SOCKET_GATE;
		flow->report.flags |= WEIR_EVENT_UNKNOWN;
		slave = table_slave(flow->six, flow->hash);
	}
	verdict = aim(flow->six, slave, flow->length, hop, action);
	if (verdict != WEIR_FORWARDED)
		return verdict;
	tally->slaves[slave & (WEIR_SLAVES_MAX - 1)].packets += 1;
	tally->slaves[slave & (WEIR_SLAVES_MAX - 1)].bytes += flow->ip_length;
	if (flow->report.flags)
		tell(context, tally, &flow->report);
	return WEIR_FORWARDED;
}

static always_inline int forward4(struct xdp_md *context, struct weir_tally *tally,
				  struct datagram *datagram, __u32 rule, int *action)
{
	struct headers4 *headers = (void *)(long)context->data + datagram->at;
	struct flow flow = { .six = 0, .rule = rule, .end = (void *)(long)context->data_end };
	struct weir_source *source;
	struct weir_hop hop;
	int verdict;

	if ((void *)(headers + 1) > flow.end)
		return WEIR_PASSED_TRUNCATED;
	flow.ip_length = swap16(headers->ip.total_length);
	flow.length = length(context, datagram->at, headers, flow.end, flow.ip_length);
	flow.report.length = swap16(headers->udp.length) - sizeof(headers->udp);
	if (!datagram->bare || flow.ip_length > flow.length || flow.ip_length < sizeof(*headers) ||
	    flow.report.length + sizeof(*headers) != flow.ip_length)
		return WEIR_SOCKET_HEADERS;
	flow.hash = source_hash4(headers->ip.source);
	flow.payload = headers + 1;
	flow.report.source = mapped(headers->ip.source);
	flow.report.source_port = headers->udp.source;
	flow.report.port = datagram->port;
	flow.report.at = datagram->at + sizeof(*headers);
	source = find_source(&flow.report.source, headers->udp.destination, flow.hash);
	verdict = decide(context, tally, &flow, source, &hop, action);
	if (verdict != WEIR_FORWARDED)
		return verdict;
	rewrite4(headers, hop.address[0], swap16((__u16)(datagram->port + port_offset)));
	if (!rewrite_ethernet(context, datagram->at, hop.ethernet, ETHERTYPE_IPV4))
		*action = XDP_DROP;
	return WEIR_FORWARDED;
}

static always_inline int forward6(struct xdp_md *context, struct weir_tally *tally,
				  struct datagram *datagram, __u32 rule, int *action)
{
	struct headers6 *headers = (void *)(long)context->data + datagram->at;
	struct flow flow = { .six = 1, .rule = rule, .end = (void *)(long)context->data_end };
	struct weir_source *source;
	struct weir_hop hop;
	int verdict;

	if ((void *)(headers + 1) > flow.end)
		return WEIR_PASSED_TRUNCATED;
	flow.ip_length = swap16(headers->ip.payload_length) + sizeof(headers->ip);
	flow.length = length(context, datagram->at, headers, flow.end, flow.ip_length);
	flow.report.length = swap16(headers->udp.length) - sizeof(headers->udp);
	/* Without a checksum there is no IPv6 datagram (RFC 8200, Section 8.1). */
	if (!datagram->bare || flow.ip_length > flow.length || flow.ip_length < sizeof(*headers) ||
	    !headers->udp.checksum ||
	    flow.report.length + sizeof(*headers) != flow.ip_length)
		return WEIR_SOCKET_HEADERS;
	flow.report.source = address(headers->ip.source);
	flow.hash = source_hash6(&flow.report.source);
	flow.payload = headers + 1;
	flow.report.source_port = headers->udp.source;
	flow.report.port = datagram->port;
	flow.report.at = datagram->at + sizeof(*headers);
	source = find_source(&flow.report.source, headers->udp.destination, flow.hash);
	verdict = decide(context, tally, &flow, source, &hop, action);
	if (verdict != WEIR_FORWARDED)
		return verdict;
	rewrite6(headers, hop.address, swap16((__u16)(datagram->port + port_offset)));
	if (!rewrite_ethernet(context, datagram->at, hop.ethernet, ETHERTYPE_IPV6))
		*action = XDP_DROP;
	return WEIR_FORWARDED;
}

#endif
