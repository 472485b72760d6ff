/* SPDX-License-Identifier: Apache-2.0 */
/* Which slave a source's datagrams go to: an assigned one, else the steering table's. */
#ifndef WEIR_STEER_H
#define WEIR_STEER_H

#include "parse.h"

/* 2^64 by the golden ratio, and odd. */
#define SPREAD 0x9e3779b97f4a7c15

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014). abi.rs has the same. */
static always_inline __u64 mix(__u64 value)
{
	value += SPREAD;
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

static always_inline __u64 source_hash4(__u32 address)
{
	return mix(__builtin_bswap32(address));
}

static always_inline __u64 source_hash6(const struct weir_address *address)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return mix(__builtin_bswap64(address->halves[0]) * SPREAD ^ __builtin_bswap64(address->halves[1]));
#else
	return mix(address->halves[0] * SPREAD ^ address->halves[1]);
#endif
}

/* The known source of this address that sends to `port`, in network order. */
static always_inline struct weir_source *find_source(const struct weir_address *address, __u16 port,
						     __u64 hash)
{
	__u32 slot = hash & source_mask;
	struct weir_source *source = bpf_map_lookup_elem(&source_slots, &slot);
	struct weir_source_key key;

	if (source && source->port == port && equal(&source->address, address))
		return source;
	key.address = *address;
	key.port = port;
	return bpf_map_lookup_elem(&sources, &key);
}

/* The table's slave for a hash; WEIR_SLAVES_MAX or more is none. */
static always_inline __u32 table_slave(__u32 six, __u64 hash)
{
	__u32 index = (hash >> 32) * WEIR_TABLE_LENGTH >> 32;
	__u32 word = six * WEIR_TABLE_WORDS + index / 8;
	__u8 *octets = bpf_map_lookup_elem(&table, &word);

	return octets ? octets[index % 8] : WEIR_SLAVES_MAX;
}

/* Counts the datagram at its source. Plainly: one receive queue, and so one cpu at a time, has all of
 * a source's datagrams where receive queues are chosen by address. */
static always_inline void account(struct weir_source *source, __u32 bytes)
{
	source->packets += 1;
	source->bytes += bytes;
	source->seen = bpf_jiffies64();
}

#endif
