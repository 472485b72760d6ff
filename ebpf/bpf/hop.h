/* SPDX-License-Identifier: Apache-2.0 */
/* The way to a slave, read whole while user space may be changing it. */
#ifndef WEIR_HOP_H
#define WEIR_HOP_H

#include "maps.h"

/* Reads the hop and aims the frame, of `length` bytes from its IP header on, at its device. Returns
 * WEIR_FORWARDED with the XDP action, or why it cannot be forwarded. */
static always_inline int aim(__u32 six, __u32 slave, __u32 length, struct weir_hop *hop, int *action)
{
	__u32 key = six * WEIR_SLAVES_MAX + slave;
	volatile __u32 *change;
	struct weir_slave *entry;
	__u32 before;

	if (slave >= WEIR_SLAVES_MAX)
		return WEIR_SOCKET_NO_SLAVE;
	entry = bpf_map_lookup_elem(&slaves, &key);
	if (!entry)
		return WEIR_SOCKET_NO_SLAVE;
	change = &entry->change;
	before = *change;
	__builtin_memcpy(hop, &entry->hops[before & 1], sizeof(*hop));
	if (!(hop->flags & WEIR_HOP_RESOLVED))
		return WEIR_SOCKET_UNRESOLVED;
	if (length > hop->mtu)
		return WEIR_SOCKET_MTU;
	*action = XDP_TX;
	if (!(hop->flags & WEIR_HOP_BOUNCE))
		*action = bpf_redirect_map(&devices, key * 2 + (before & 1), XDP_PASS);
	/* Neither may change, so both are of one hop; the helper's call, or this, keeps the order. */
	__asm__ volatile("" ::: "memory");
	if (*change != before || *action == XDP_PASS)
		return WEIR_SOCKET_UNRESOLVED;
	return WEIR_FORWARDED;
}

#endif
