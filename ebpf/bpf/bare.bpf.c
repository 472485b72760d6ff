// SPDX-License-Identifier: Apache-2.0
/* What weir's program is measured against and with: the barest redirect, a generator and a sink. No
 * part of weir. */
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

#define FRAMES 256
#define START_MAX 64

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;

/* Where the bare redirect goes (0), and the generator (1). */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} devices SEC(".maps");

/* The first octets of the generated frames, which take turns. */
struct start {
	__u64 words[START_MAX / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FRAMES);
	__type(key, __u32);
	__type(value, struct start);
} starts SEC(".maps");

/* Frames: generated (0), drowned (1). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static inline __attribute__((always_inline)) __u64 count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counts, &which);

	return counter ? (*counter)++ : 0;
}

/* As the kernel's own sample xdp_redirect_map: Ethernet addresses and nothing else, for without them
 * no redirected frame arrives anywhere. */
SEC("xdp.frags")
int bare(struct xdp_md *context)
{
	struct addresses {
		__u8 destination[6];
		__u8 source[6];
	} *frame = (void *)(long)context->data, swapped;

	if ((void *)(frame + 1) > (void *)(long)context->data_end)
		return XDP_DROP;
	__builtin_memcpy(swapped.destination, frame->source, 6);
	__builtin_memcpy(swapped.source, frame->destination, 6);
	*frame = swapped;
	return bpf_redirect_map(&devices, 0, XDP_DROP);
}

/* A frame that came back from an earlier use has been rewritten, so its start is written anew. */
SEC("xdp.frags")
int generate(struct xdp_md *context)
{
	struct start *frame = (void *)(long)context->data;
	__u32 turn = count(0) % FRAMES;
	struct start *start = bpf_map_lookup_elem(&starts, &turn);

	if (!start || (void *)(frame + 1) > (void *)(long)context->data_end)
		return XDP_ABORTED;
	*frame = *start;
	return bpf_redirect_map(&devices, 1, XDP_ABORTED);
}

SEC("xdp.frags")
int sink(struct xdp_md *context)
{
	count(1);
	return XDP_DROP;
}

char bare_license[] SEC("license") = "Apache-2.0";
