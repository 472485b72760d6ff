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

/* As listener_slot() in abi.rs; `port` in network order. */
static always_inline __u32 listener_slot(const struct weir_address *address, __u16 port)
{
	__u32 word = (__u32)(address->halves[1] ^ address->halves[1] >> 32) ^ port;

	return word * 0x9e3779b1u >> 20;
}

/* Whether somebody here listens for the datagram, and by what rule. Returns a verdict to pass by, or
 * -1. */
static always_inline int match(struct datagram *datagram, __u32 *rule)
{
	__u16 order = swap16(datagram->port);
	__u32 slot = listener_slot(&datagram->destination, order);
	struct weir_listener *known = bpf_map_lookup_elem(&listeners, &slot);
	struct weir_address key = datagram->destination;
	__u32 port = datagram->port;
	__u32 *found;

	if (known && known->port == order && equal(&known->address, &datagram->destination)) {
		*rule = known->rule;
		return *rule ? -1 : WEIR_PASSED_PORT;
	}
	found = bpf_map_lookup_elem(&ports, &port);
	if (!found)
		return WEIR_PASSED_PORT;
	*rule = *found;
	if (!*rule)
		return WEIR_PASSED_PORT;
	return bpf_map_lookup_elem(&addresses, &key) ? -1 : WEIR_PASSED_ADDRESS;
}

static always_inline int judge(struct xdp_md *context, struct weir_tally *tally, int *action)
{
	struct cursor cursor = {
		.at = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
	};
	struct datagram datagram = {};
	__u32 rule = 0;
	int verdict = parse(&cursor, &datagram);

	if (verdict < 0)
		verdict = match(&datagram, &rule);
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
	int forwarded = XDP_PASS, action = XDP_PASS;
	__u32 verdict;

	if (!tally)
		return XDP_PASS;
	verdict = judge(context, tally, &forwarded);
	if (verdict == WEIR_FORWARDED) {
		tally->verdicts[WEIR_FORWARDED] += 1;
		return forwarded;
	}
	if (verdict == WEIR_REFUSED_SOURCE || verdict == WEIR_REFUSED_FORMAT) {
		action = XDP_DROP;
	} else if (verdict >= WEIR_REDIRECTED && verdict <= WEIR_SOCKET_HEADERS) {
		action = bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			verdict = WEIR_PASSED_QUEUE;
	}
	if (verdict < WEIR_VERDICTS)
		tally->verdicts[verdict] += 1;
	return action;
}

/* Never attached: user space runs it by itself to learn how the two clocks stand. */
SEC("xdp")
int moment(struct xdp_md *context __attribute__((unused)))
{
	__u32 zero = 0;
	struct weir_moment *moment = bpf_map_lookup_elem(&moments, &zero);

	if (moment) {
		moment->jiffies = bpf_jiffies64();
		moment->ns = bpf_ktime_get_coarse_ns();
	}
	return XDP_DROP;
}

/* No helper used is reserved for GPL programs. */
char weir_license[] SEC("license") = "Apache-2.0";
