/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map and its key and value. Twins: the codecs in agent/maps, held to this by tools/layout through BTF. Sizes here are the
 * defaults; the agent creates the maps (with its own sizes) and hands them to every object.
 */
#pragma once

#include "types.h"

#define FAMILY_IPV4 1
#define FAMILY_IPV6 2

struct ipcache_key {
	__u32 prefixlen;
	__u16 cluster_id;
	__u8 pad;
	__u8 family;
	__be32 addr[4];
};
_Static_assert(sizeof(struct ipcache_key) == 24, "layout is an ABI");

#define IPCACHE_STATIC_BITS 32
#define IPCACHE_SKIP_TUNNEL 1
#define IPCACHE_HAS_TUNNEL_ENDPOINT 2

struct ipcache_value {
	__u32 sec_identity;
	__be32 tunnel_endpoint[4];
	__u16 pad;
	__u8 key;
	__u8 flags;
};
_Static_assert(sizeof(struct ipcache_value) == 24, "layout is an ABI");

struct endpoint_key {
	__be32 addr[4];
	__u8 family;
	__u8 key;
	__u16 cluster_id;
};
_Static_assert(sizeof(struct endpoint_key) == 20, "layout is an ABI");

#define ENDPOINT_HOST 1
#define ENDPOINT_AT_HOST_NS 2

struct endpoint_info {
	__u32 ifindex;
	__u16 unused;
	__u16 lxc_id;
	__u32 flags;
	__u32 pad;
	__u8 mac[8];
	__u8 node_mac[8];
	__u32 sec_id;
	__u32 parent_ifindex;
	__u64 pad2;
};
_Static_assert(sizeof(struct endpoint_info) == 48, "layout is an ABI");

#define CONFIG_VALID 1
#define CONFIG_INGRESS_ENFORCED 2
#define CONFIG_EGRESS_ENFORCED 4
#define CONFIG_AUDIT 8

struct endpoint_config {
	__u32 sec_id;
	__be32 ipv4;
	__u32 ifindex;
	__u32 flags;
	__u8 mac[8];
	__u8 node_mac[8];
	struct ipv6_address ipv6; /* zero, as ipv4: the endpoint has none */
	__u64 pad;
};
_Static_assert(sizeof(struct endpoint_config) == 56, "layout is an ABI");

struct policy_key {
	__u32 prefixlen;
	__u32 sec_label;
	__u8 egress : 1, pad : 7;
	__u8 protocol;
	__be16 dport;
};
_Static_assert(sizeof(struct policy_key) == 12, "layout is an ABI");
TWIN(policy_key);

#define POLICY_FULL_PREFIX 64
#define POLICY_PROTOCOL_BITS 8 /* of lpm_prefix_length: protocol, no port */
#define POLICY_PRECEDENCE_DENY 0xffffffff

struct policy_entry {
	__be16 proxy_port;
	__u8 deny : 1, reserved : 2, lpm_prefix_length : 5;
	__u8 auth_type : 7, has_explicit_auth_type : 1;
	__u32 precedence;
	__u32 cookie;
	__u32 pad;
};
_Static_assert(sizeof(struct policy_entry) == 16, "layout is an ABI");
TWIN(policy_entry);

/* In packet order of the packet that created the entry. */
struct ipv4_ct_tuple {
	__be32 daddr;
	__be32 saddr;
	__be16 dport;
	__be16 sport;
	__u8 nexthdr;
	__u8 flags;
} __attribute__((packed));
_Static_assert(sizeof(struct ipv4_ct_tuple) == 14, "layout is an ABI");

/* Where a tuple really lies. Without this the compiler reads a packed struct byte by byte. */
typedef struct ipv4_ct_tuple ipv4_ct_tuple_aligned __attribute__((aligned(4)));

#define TUPLE_OUT 0
#define TUPLE_IN 1
#define TUPLE_RELATED 2
#define TUPLE_SERVICE 4

#define CT_RX_CLOSING 0x1
#define CT_TX_CLOSING 0x2
#define CT_LB_LOOPBACK 0x8
#define CT_SEEN_NON_SYN 0x10
#define CT_NODE_PORT 0x20
#define CT_PROXY_REDIRECT 0x40
#define CT_FROM_TUNNEL 0x400

struct ct_entry {
	__u64 judged; /* lib/ct.h; 0 = its packets are judged one by one */
	__u64 backend_id;
	__u64 packets;
	__u64 bytes;
	__u32 lifetime;
	__u16 flags;
	__u16 rev_nat_index;
	__u16 ifindex;
	__u8 tx_flags_seen;
	__u8 rx_flags_seen;
	__u32 src_sec_id;
	__u32 last_tx_report;
	__u32 last_rx_report;
};
_Static_assert(sizeof(struct ct_entry) == 56, "layout is an ABI");

struct ipv4_nat_entry {
	__u64 created;
	__u64 needs_ct;
	__u64 pad1;
	__u64 pad2;
	__be32 to_addr;
	__be16 to_port;
	__u16 pad3;
};
_Static_assert(sizeof(struct ipv4_nat_entry) == 40, "layout is an ABI");

#define SNAT_RETRIES 32

struct ipmasq_key {
	__u32 prefixlen;
	__be32 addr;
};

struct ipv4_frag_id {
	__be32 daddr;
	__be32 saddr;
	__be16 id;
	__u8 proto;
	__u8 pad;
};
_Static_assert(sizeof(struct ipv4_frag_id) == 12, "layout is an ABI");

struct ipv4_frag_l4ports {
	__be16 sport;
	__be16 dport;
};

/* What the routes said about a flow a moment ago: lib/fib.h. */
struct ipv4_route {
	ipv4_ct_tuple_aligned flow;
	__u16 len; /* the longest packet that it had room for */
	__be32 nexthop;
	__u32 ifindex;
	__u64 seen; /* jiffies; 0 = nothing is known */
};
_Static_assert(sizeof(struct ipv4_route) == 32, "no holes");

#define ROUTE_SLOTS 1024

#define METRIC_INGRESS 1
#define METRIC_EGRESS 2

struct metrics_key {
	__u8 reason;
	__u8 dir : 2, pad : 6;
	__u16 line;
	__u8 file;
	__u8 reserved[3];
};
_Static_assert(sizeof(struct metrics_key) == 8, "layout is an ABI");

struct metrics_value {
	__u64 count;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipcache_key);
	__type(value, struct ipcache_value);
	__uint(max_entries, 512000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cilium_ipcache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint_info);
	__uint(max_entries, 65535);
} cilium_lxc SEC(".maps");

struct policy_map {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(key_size, sizeof(struct policy_key));
	__uint(value_size, sizeof(struct policy_entry));
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 65536);
	__array(values, struct policy_map);
} cilium_policy SEC(".maps");

/* Which state of what verdicts depend on the maps hold: lib/ct.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} cilium_policy_epoch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct endpoint_config);
	__uint(max_entries, 65536);
} cilium_ep_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 65536);
} cilium_if_to_ep SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv4_ct_tuple);
	__type(value, struct ct_entry);
	__uint(max_entries, 524288);
} cilium_ct4_global SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv4_ct_tuple);
	__type(value, struct ct_entry);
	__uint(max_entries, 262144);
} cilium_ct_any4_global SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv4_ct_tuple);
	__type(value, struct ipv4_nat_entry);
	__uint(max_entries, 524288);
} cilium_snat_v4_external SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, SNAT_RETRIES + 1);
} cilium_snat_v4_alloc_retries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipmasq_key);
	__type(value, __u8);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cilium_ipmasq_v4 SEC(".maps");

/* Addresses of Services that this node announces. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipmasq_key);
	__type(value, __u8);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} cilium_announced_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct ipv4_frag_id);
	__type(value, struct ipv4_frag_l4ports);
	__uint(max_entries, 8192);
} cilium_ipv4_frag_datagrams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct ipv4_route);
	__uint(max_entries, ROUTE_SLOTS);
} cilium_routes_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__type(key, struct metrics_key);
	__type(value, struct metrics_value);
	__uint(max_entries, 1024);
} cilium_metrics SEC(".maps");

/* What was forwarded, by direction: reason 0 of cilium_metrics, counted for every packet and so without a hash. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct metrics_value);
	__uint(max_entries, METRIC_EGRESS + 1);
} cilium_forwarded SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} cilium_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
} cilium_events_lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 16);
} cilium_runtime_config SEC(".maps");
