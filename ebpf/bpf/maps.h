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

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;

/* Bit `port % 64` of word `port / 64`: is this port listened on? */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_PORT_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

/* The addresses that are this host's. A frame to any other is none of weir's, whatever its port:
 * the host may be routing it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_ADDRESSES_MAX);
	__type(key, struct weir_address);
	__type(value, __u8);
} addresses SEC(".maps");

/* The AF_XDP socket of each receive queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, WEIR_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Frames by enum weir_verdict. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

#endif
