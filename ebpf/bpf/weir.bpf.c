// SPDX-License-Identifier: Apache-2.0
/* weir's XDP program: a whole UDP datagram to a listening port of this host goes, by its port's rule,
 * to its source's slave or to its receive queue's AF_XDP socket; everything else goes to the kernel,
 * untouched. When in doubt it passes: an ordinary socket on the same port takes what this program
 * does not. */
#include <linux/bpf.h>

#include "abi.h"
#include "forward.h"
#include "maps.h"
#include "parse.h"

/* Whether the address is one of this host's. */
static always_inline int is_ours(struct weir_address *address)
{
	const __u32 *words = address->words;
	/* As address_slot() in abi.rs. */
	__u32 slot = (words[2] ^ words[3]) * 0x9e3779b1u >> 20;
	struct weir_address *known = bpf_map_lookup_elem(&address_slots, &slot);

	if (known && known->words[3] == words[3] && known->words[2] == words[2] &&
	    known->words[1] == words[1] && known->words[0] == words[0])
		return 1;
	return bpf_map_lookup_elem(&addresses, address) != 0;
}

/* Whether somebody here listens for the datagram, and by what rule. Returns a verdict to pass by, or
 * -1. */
static always_inline int match(struct datagram *datagram, struct weir_address *destination,
			       __u32 *rule)
{
	__u32 port = datagram->port;
	__u32 *found = bpf_map_lookup_elem(&ports, &port);

	if (!found)
		return WEIR_PASSED_PORT;
	*rule = *found;
	if (!*rule)
		return WEIR_PASSED_PORT;
	return is_ours(destination) ? -1 : WEIR_PASSED_ADDRESS;
}

static always_inline int judge(struct xdp_md *context, struct weir_tally *tally, int *action)
{
	struct cursor cursor = {
		.at = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
	};
	struct weir_address destination;
	struct datagram datagram = {};
	__u32 rule = 0;
	int verdict = parse(&cursor, &datagram, &destination);

	if (verdict < 0)
		verdict = match(&datagram, &destination, &rule);
	if (verdict >= 0)
		return verdict;
	if (!(rule & WEIR_RULE_FORWARD))
		return WEIR_REDIRECTED;
	if (datagram.type == ETHERTYPE_IPV4)
		return forward4(context, tally, &datagram, rule, action);
	return forward6(context, tally, &datagram, rule, action);
}

SEC("xdp.frags")
int weir(struct xdp_md *context)
{
	__u32 zero = 0;
	struct weir_tally *tally = bpf_map_lookup_elem(&tallies, &zero);
	int action = XDP_PASS;
	__u32 verdict;

	if (!tally)
		return XDP_PASS;
	verdict = judge(context, tally, &action);
	if (verdict == WEIR_REFUSED_SOURCE || verdict == WEIR_REFUSED_FORMAT) {
		action = XDP_DROP;
	} else if (verdict >= WEIR_REDIRECTED && verdict <= WEIR_SOCKET_HEADERS) {
		action = bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			verdict = WEIR_PASSED_QUEUE;
	} else if (verdict != WEIR_FORWARDED) {
		action = XDP_PASS;
	}
	if (verdict < WEIR_VERDICTS)
		tally->verdicts[verdict] += 1;
	return action;
}

/* No helper used is reserved for GPL programs. */
char weir_license[] SEC("license") = "Apache-2.0";
