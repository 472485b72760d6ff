// SPDX-License-Identifier: Apache-2.0
/* What stands around a proxy under test: a flood (run on live frames by BPF_PROG_TEST_RUN), a sink
 * that counts records and their latency and costs next to nothing, and the three programs that a
 * proxy in the kernel is measured against: drop, bounce and redirect. IPv4 without options only: the
 * exporters send nothing else. */
#include <linux/bpf.h>
#include <linux/types.h>

#define swap16(value) __builtin_bswap16(value)
#define always_inline inline __attribute__((always_inline))
#define ETHERTYPE_IPV4 0x0800
#define PROTOCOL_UDP 17

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
};

struct ipv4 {
	__u8 version_length;
	__u8 service;
	__u16 total_length;
	__u16 identification;
	__u16 flags_offset;
	__u8 time_to_live;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

struct udp {
	__u16 source;
	__u16 destination;
	__u16 length;
	__u16 checksum;
};

#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#define SEC(name) __attribute__((section(name), used))

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;

#define HEADERS (sizeof(struct ethernet) + sizeof(struct ipv4) + sizeof(struct udp))
#define PAYLOAD_MAX 2000
#define RECORDS_MAX 64
#define SETS_MAX 8
#define CATCH_UP 64
#define SLAVES_MAX 256
#define BUCKETS 1024
#define LISTEN_PORT 2055
#define SLAVE_PORTS 30000

/* What the generator makes of the frame that it is given, and when. Offsets are from the UDP payload. */
struct plan {
	__u64 position;      /* frames so far; the next one's source is `position % sources` */
	__u64 sources;
	__u64 first_source;  /* an IPv4 address in host order */
	__u64 sequence_at;
	__u64 sequence_base;
	__u64 sequence_step; /* per frame of one source */
	__u64 stamp_at;      /* of the first record; 0: no stamps */
	__u64 stamp_stride;
	__u64 stamps;
	__u64 rate;          /* frames a second; 0: as many as can be */
	__u64 length;        /* of the run, nanoseconds */
	__u64 began;         /* 0: not yet */
	__u64 due_before;    /* frames that were sent or passed over */
	/* A page that comes back from its last use bears what others wrote: headers go in anew. */
	__u8 headers[48];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plan SEC(".maps");

/* How the sink reads what comes, and what it does then. */
struct reading {
	__u64 action;         /* XDP_DROP, or XDP_PASS in front of a slave */
	__u64 netflow9_length; /* of every record */
	__u64 ipfix_fixed;    /* bytes of a record before its last field, of variable length */
	__u64 stamp_at;       /* within a v9 record, plus 1; 0: no latency */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reading);
} reading SEC(".maps");

struct sunk {
	__u64 packets;
	__u64 bytes; /* of UDP payload */
	__u64 records;
};

/* By the last octet of the destination. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLAVES_MAX);
	__type(key, __u32);
	__type(value, struct sunk);
} sunk SEC(".maps");

/* Records by latency: 32 buckets for each power of two, nanoseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} latency SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

static always_inline void ipv4_checksum(struct ipv4 *header)
{
	__u16 *words = (void *)header;
	__u32 sum = 0;
	int i;

	header->checksum = 0;
#pragma unroll
	for (i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	header->checksum = ~sum;
}

/* Whether the next frame is due. One that is not is dropped, so that a steady rate needs neither a
 * timer nor one system call a frame. */
static always_inline int is_due(struct plan *is, __u64 now)
{
	__u64 due;

	if (!is->began)
		is->began = now;
	if (now - is->began >= is->length)
		return 0;
	if (!is->rate)
		return 1;
	due = (now - is->began) * is->rate / 1000000000;
	if (due <= is->due_before)
		return 0;
	/* What was missed is not made up for in one burst. */
	if (due - is->due_before > CATCH_UP)
		is->due_before = due - CATCH_UP;
	is->due_before++;
	return 1;
}

SEC("xdp")
int generate(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ipv4 *ip = data + sizeof(struct ethernet);
	void *payload = data + HEADERS;
	__u32 zero = 0, source, *field;
	struct plan *is = bpf_map_lookup_elem(&plan, &zero);
	__u64 at, sent, now = bpf_ktime_get_ns();
	__u32 i;

	if (!is || data + HEADERS + 64 > end || !is->sources || !is_due(is, now))
		return XDP_DROP;
	source = is->position % is->sources;
	sent = is->position / is->sources;
	is->position++;
	__builtin_memcpy(data, is->headers, HEADERS);
	ip->source = __builtin_bswap32((__u32)is->first_source + source);
	ipv4_checksum(ip);
	at = is->sequence_at;
	if (at > PAYLOAD_MAX)
		return XDP_DROP;
	field = payload + at;
	if ((void *)(field + 1) > end)
		return XDP_DROP;
	*field = __builtin_bswap32((__u32)(is->sequence_base + sent * is->sequence_step));
	at = is->stamp_at;
	for (i = 0; at && i < RECORDS_MAX && i < is->stamps; i++) {
		if (at > PAYLOAD_MAX)
			break;
		field = payload + at;
		if ((void *)(field + 1) > end)
			break;
		*field = now;
		at += is->stamp_stride;
	}
	return XDP_TX;
}

/* The functions below are global so that the verifier looks at each by itself: within one another
 * their loops would exceed its patience. */

__attribute__((noinline)) int note_latency(__u32 nanoseconds)
{
	__u32 power = 0, value = nanoseconds, bucket;
	__u64 *count;

	if (value >> 16) { power += 16; value >>= 16; }
	if (value >> 8) { power += 8; value >>= 8; }
	if (value >> 4) { power += 4; value >>= 4; }
	if (value >> 2) { power += 2; value >>= 2; }
	if (value >> 1) power += 1;
	bucket = power < 5 ? nanoseconds
			   : (power - 4) * 32 + ((nanoseconds >> (power - 5)) & 31);
	count = bpf_map_lookup_elem(&latency, &bucket);
	if (count)
		*count += 1;
	return 0;
}

/* Records of a v9 data set of `length` bytes at `at` of the payload. */
__attribute__((noinline)) int netflow9_set(struct xdp_md *context, __u32 at, __u32 length)
{
	void *payload = (void *)(long)context->data + HEADERS;
	void *end = (void *)(long)context->data_end;
	__u32 zero = 0, stride, records, now, i;
	struct reading *reads = bpf_map_lookup_elem(&reading, &zero);

	if (!reads || !reads->netflow9_length || length < 4)
		return 0;
	stride = reads->netflow9_length;
	records = (length - 4) / stride;
	if (!reads->stamp_at)
		return records;
	now = bpf_ktime_get_ns();
	at += 4 + (__u32)reads->stamp_at - 1;
	for (i = 0; i < RECORDS_MAX && i < records; i++) {
		__u32 *stamp;

		if (at > PAYLOAD_MAX)
			break;
		stamp = payload + at;
		if ((void *)(stamp + 1) > end)
			break;
		note_latency(now - *stamp);
		at += stride;
	}
	return records;
}

/* Records of an IPFIX data set of `length` bytes, each ending in a field with a one-byte length. */
__attribute__((noinline)) int ipfix_set(struct xdp_md *context, __u32 at, __u32 length)
{
	void *payload = (void *)(long)context->data + HEADERS;
	void *end = (void *)(long)context->data_end;
	__u32 zero = 0, records = 0, limit = at + length, i;
	struct reading *reads = bpf_map_lookup_elem(&reading, &zero);

	if (!reads)
		return 0;
	at += 4;
	for (i = 0; i < RECORDS_MAX; i++) {
		__u8 *text;

		at += (__u32)reads->ipfix_fixed;
		if (at >= limit || at > PAYLOAD_MAX)
			break;
		text = payload + at;
		if ((void *)(text + 1) > end)
			break;
		at += 1 + *text;
		records++;
	}
	return records;
}

static always_inline __u32 count_records(struct xdp_md *context)
{
	void *payload = (void *)(long)context->data + HEADERS;
	void *end = (void *)(long)context->data_end;
	__u16 *words = payload;
	__u32 records = 0, at, version, i;

	if (payload + 24 > end)
		return 0;
	version = swap16(words[0]);
	if (version == 5)
		return swap16(words[1]);
	at = version == 9 ? 20 : 16;
	for (i = 0; i < SETS_MAX; i++) {
		__u32 id, length;
		__u16 *set;

		if (at > PAYLOAD_MAX)
			break;
		set = payload + at;
		if ((void *)(set + 2) > end)
			break;
		id = swap16(set[0]);
		length = swap16(set[1]);
		if (length < 4)
			break;
		if (id >= 256)
			records += version == 9 ? netflow9_set(context, at, length)
						: ipfix_set(context, at, length);
		at += length;
	}
	return records;
}

/* The UDP payload of a whole datagram by IPv4 to one of these ports, or nothing. */
static always_inline void *find(struct xdp_md *context, __u16 one_port, __u16 from_port)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethernet *ethernet = data;
	struct ipv4 *ip = data + sizeof(*ethernet);
	struct udp *udp = (void *)(ip + 1);
	__u16 port;

	if (data + HEADERS > end || ethernet->type != swap16(ETHERTYPE_IPV4))
		return 0;
	if (ip->version_length != 0x45 || ip->protocol != PROTOCOL_UDP ||
	    (ip->flags_offset & swap16(0x3fff)))
		return 0;
	port = swap16(udp->destination);
	return port == one_port || port >= from_port ? data + HEADERS : 0;
}

SEC("xdp")
int sink(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	void *payload = find(context, LISTEN_PORT, SLAVE_PORTS);
	struct ipv4 *ip = data + sizeof(struct ethernet);
	struct udp *udp = (void *)(ip + 1);
	__u32 zero = 0, slave;
	struct reading *reads = bpf_map_lookup_elem(&reading, &zero);
	struct sunk *sum;

	if (!payload || !reads || data + HEADERS > end)
		return XDP_PASS;
	slave = ip->destination >> 24;
	sum = bpf_map_lookup_elem(&sunk, &slave);
	if (!sum)
		return XDP_PASS;
	sum->packets++;
	sum->bytes += swap16(udp->length) - sizeof(*udp);
	sum->records += count_records(context);
	return reads->action;
}

/* The baseline of all modes: what comes to the listening port is found and dropped. */
SEC("xdp")
int drop(struct xdp_md *context)
{
	return find(context, LISTEN_PORT, 0xffff) ? XDP_DROP : XDP_PASS;
}

/* Bare forwarding: out where it came in, addresses swapped, nothing parsed. */
SEC("xdp")
int bounce(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethernet *header = data;
	__u8 other[6];

	if (data + sizeof(*header) > end)
		return XDP_PASS;
	__builtin_memcpy(other, header->destination, sizeof(other));
	__builtin_memcpy(header->destination, header->source, sizeof(other));
	__builtin_memcpy(header->source, other, sizeof(other));
	return XDP_TX;
}

/* The barest redirect: by a device map, without a look at the frame. */
SEC("xdp")
int redirect(struct xdp_md *context __attribute__((unused)))
{
	return bpf_redirect_map(&egress, 0, XDP_PASS);
}

char bench_license[] SEC("license") = "Apache-2.0";
