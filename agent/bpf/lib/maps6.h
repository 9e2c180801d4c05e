/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps that hold IPv6 addresses alone. Twins: the codecs in agent/maps. What both families share is in maps.h. */
#pragma once

#include "maps.h"

/* In packet order of the packet that created the entry. */
struct ipv6_ct_tuple {
	struct ipv6_address daddr;
	struct ipv6_address saddr;
	__be16 dport;
	__be16 sport;
	__u8 nexthdr;
	__u8 flags;
};
_Static_assert(sizeof(struct ipv6_ct_tuple) == 38, "layout is an ABI");

/* On a stack: addresses are copied and compared by halves. */
typedef struct ipv6_ct_tuple ipv6_ct_tuple_aligned __attribute__((aligned(8)));
#define STACK_TUPLE6(name) ipv6_ct_tuple_aligned name = {}

struct ipv6_nat_entry {
	__u64 created;
	__u64 needs_ct;
	__u64 pad1;
	__u64 pad2;
	struct ipv6_address to_addr;
	__be16 to_port;
	__u16 pad3[3];
};
_Static_assert(sizeof(struct ipv6_nat_entry) == 56, "layout is an ABI");

struct ipmasq6_key {
	__u32 prefixlen;
	struct ipv6_address addr;
};
_Static_assert(sizeof(struct ipmasq6_key) == 20, "layout is an ABI");

struct ipv6_frag_id {
	struct ipv6_address daddr;
	struct ipv6_address saddr;
	__be32 id;
	__u8 proto;
	__u8 pad[3];
};
_Static_assert(sizeof(struct ipv6_frag_id) == 40, "layout is an ABI");

struct ipv6_frag_l4ports {
	__be16 sport;
	__be16 dport;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv6_ct_tuple);
	__type(value, struct ct_entry);
	__uint(max_entries, 524288);
} cilium_ct6_global SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv6_ct_tuple);
	__type(value, struct ct_entry);
	__uint(max_entries, 262144);
} cilium_ct_any6_global SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv6_ct_tuple);
	__type(value, struct ipv6_nat_entry);
	__uint(max_entries, 524288);
} cilium_snat_v6_external SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, SNAT_RETRIES + 1);
} cilium_snat_v6_alloc_retries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipmasq6_key);
	__type(value, __u8);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cilium_ipmasq_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipmasq6_key);
	__type(value, __u8);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cilium_announced_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv6_frag_id);
	__type(value, struct ipv6_frag_l4ports);
	__uint(max_entries, 8192);
} cilium_ipv6_frag_datagrams SEC(".maps");
