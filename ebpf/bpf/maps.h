/* SPDX-License-Identifier: Apache-2.0 */
/* The program's maps. All may change while it runs. */
#ifndef WEIR_MAPS_H
#define WEIR_MAPS_H

#include <linux/bpf.h>

#include "abi.h"

/* BTF-defined maps: a pointer's target type or array length is the attribute. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#define SEC(name) __attribute__((section(name), used))
#define always_inline inline __attribute__((always_inline))

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;
static __u64 (*bpf_jiffies64)(void) = (void *)BPF_FUNC_jiffies64;
static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;
static __u64 (*bpf_xdp_get_buff_len)(struct xdp_md *context) = (void *)BPF_FUNC_xdp_get_buff_len;
static long (*bpf_xdp_load_bytes)(struct xdp_md *context, __u32 at, void *to, __u32 length) =
	(void *)BPF_FUNC_xdp_load_bytes;
static long (*bpf_xdp_adjust_head)(struct xdp_md *context, int by) = (void *)BPF_FUNC_xdp_adjust_head;
static long (*bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) =
	(void *)BPF_FUNC_ringbuf_output;

/* What is added to the listening port for the slave's; set at load. */
const volatile __u16 port_offset = 30000;
/* The number of source slots, less one; set at load. */
const volatile __u32 source_mask = 262143;

/* Each port's rule, WEIR_RULE_*. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

/* The addresses that are this host's. A frame to any other is none of weir's, whatever its port:
 * the host may be routing it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_ADDRESSES_MAX);
	__type(key, struct weir_address);
	__type(value, __u8);
} addresses SEC(".maps");

/* What `ports` and `addresses` say, once more, for most pairs of both: by listener_slot(), and found
 * with one lookup. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_LISTENERS);
	__type(key, __u32);
	__type(value, struct weir_listener);
} listeners SEC(".maps");

/* The AF_XDP socket of each receive queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, WEIR_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Most of the known sources, each in the slot that its hash says; the number of slots is a power of
 * two that is set at load. A hash lookup costs more than the rest of the program. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 262144);
	__type(key, __u32);
	__type(value, struct weir_source);
} source_slots SEC(".maps");

/* Those whose slot another source has; the bound is set at load. User space alone adds, so entries
 * can be allocated when they are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_source_key);
	__type(value, struct weir_source);
} sources SEC(".maps");

/* The steering tables, IPv4's and then IPv6's: a slave's number in each octet, from
 * WEIR_SLAVES_MAX on none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * WEIR_TABLE_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

/* The ways to the slaves, by IPv4 and then by IPv6. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * WEIR_SLAVES_MAX);
	__type(key, __u32);
	__type(value, struct weir_slave);
} slaves SEC(".maps");

/* The device of each of a slave's two hops. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4 * WEIR_SLAVES_MAX);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} devices SEC(".maps");

/* Written by the program `moment`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_moment);
} moments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_tally);
} tallies SEC(".maps");

/* Where an event is put together: it is too long for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_event);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

#endif
