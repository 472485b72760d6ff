// SPDX-License-Identifier: Apache-2.0
/* weir's XDP program: a whole UDP datagram to a listening port of this host goes to its receive
 * queue's AF_XDP socket; everything else goes to the kernel, untouched. When in doubt it passes: an
 * ordinary socket on the same port takes what this program does not. */
#include <linux/bpf.h>

#include "abi.h"
#include "maps.h"
#include "parse.h"

/* Whether somebody here listens for the datagram. Returns a verdict to pass by, or -1. */
static always_inline int match(struct datagram *datagram)
{
	__u32 word = datagram->port / 64;
	__u64 *bits = bpf_map_lookup_elem(&ports, &word);

	if (!bits || !(*bits >> (datagram->port % 64) & 1))
		return WEIR_PASSED_PORT;
	if (!bpf_map_lookup_elem(&addresses, datagram->words))
		return WEIR_PASSED_ADDRESS;
	return -1;
}

static always_inline void count(__u32 verdict)
{
	__u64 *counter = bpf_map_lookup_elem(&verdicts, &verdict);

	if (counter)
		*counter += 1;
}

SEC("xdp")
int weir(struct xdp_md *context)
{
	struct cursor cursor = {
		.at = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
	};
	struct datagram datagram = {};
	int verdict = parse(&cursor, &datagram);
	int action = XDP_PASS;

	if (verdict < 0)
		verdict = match(&datagram);
	if (verdict < 0) {
		action = bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
		verdict = action == XDP_REDIRECT ? WEIR_REDIRECTED : WEIR_PASSED_QUEUE;
	}
	count(verdict);
	return action;
}

/* No helper used is reserved for GPL programs. */
char weir_license[] SEC("license") = "Apache-2.0";
