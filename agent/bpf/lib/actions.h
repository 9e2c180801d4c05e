/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a program does besides rewriting the packet and the maps: where it sends it, what it asks the kernel, what time
 * it is. BPF_PROG_TEST_RUN shows none of that, so the test build writes it into `st_probe` and reads answers from there.
 */
#pragma once

#include "types.h"

#define EINVAL 22

#define TUNNEL_KEY_SIZE __builtin_offsetof(struct bpf_tunnel_key, local_ipv4) /* what kernels before 6.0 know */

#ifdef STENTOR_TEST

/* Twin: agent/bpf/probe/probe.ts. */
struct probe {
	__u64 now_ns;		/* in; 0 = the real clock */
	__s32 fib_result;	/* in */
	__u32 fib_ifindex;	/* in */
	__be32 fib_nexthop;	/* in; 0 = the destination itself */
	__s32 tunnel_result;	/* in: of bpf_skb_get_tunnel_key */
	__u32 tunnel_id;	/* in */
	__be32 tunnel_remote;	/* in */
	__u32 action;		/* out: 1 redirect, 2 redirect_peer, 3 redirect_neigh */
	__u32 ifindex;		/* out */
	__u32 flags;		/* out */
	__be32 nexthop;		/* out */
	__u32 set_tunnel_id;	/* out */
	__u32 set_tunnel_remote; /* out, host order as in struct bpf_tunnel_key */
	__u32 set_packet_type;	/* out: 1 + type; 0 = not changed */
	__u32 actions;		/* out: how many */
	__s32 ct_create_result; /* in: what a connection's insertion returns, when not 0 */
	__u32 jiffies;		/* in */
	struct ipv6_address nexthop6; /* out; of IPv6 */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct probe);
	__uint(max_entries, 1);
} st_probe SEC(".maps");

static __always_inline struct probe *probe(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&st_probe, &zero);
}

static __always_inline int probe_action(__u32 action, __u32 ifindex, __u32 flags, __be32 nexthop)
{
	struct probe *t = probe();

	if (!t)
		return TC_ACT_SHOT;
	t->action = action;
	t->ifindex = ifindex;
	t->flags = flags;
	t->nexthop = nexthop;
	t->actions++;
	return TC_ACT_REDIRECT;
}

static __always_inline int do_redirect(__u32 ifindex)
{
	return probe_action(1, ifindex, 0, 0);
}

static __always_inline int do_redirect_peer(__u32 ifindex)
{
	return probe_action(2, ifindex, 0, 0);
}

static __always_inline int do_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *neigh)
{
	struct probe *t = probe();

	if (t && neigh->nh_family == AF_INET6)
		__builtin_memcpy(&t->nexthop6, neigh->ipv6_nh, sizeof(t->nexthop6));
	return probe_action(3, ifindex, 0, neigh->nh_family == AF_INET ? neigh->ipv4_nh : 0);
}

static __always_inline int do_fib_lookup(struct __sk_buff *skb, struct bpf_fib_lookup *fib)
{
	struct probe *t = probe();

	if (!t)
		return -1;
	fib->ifindex = t->fib_ifindex;
	if (t->fib_nexthop)
		fib->ipv4_dst = t->fib_nexthop;
	return t->fib_result;
}

static __always_inline int do_set_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key)
{
	struct probe *t = probe();

	if (!t)
		return -1;
	t->set_tunnel_id = key->tunnel_id;
	t->set_tunnel_remote = key->remote_ipv4;
	return 0;
}

static __always_inline int do_get_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key)
{
	struct probe *t = probe();

	if (!t)
		return -1;
	key->tunnel_id = t->tunnel_id;
	key->remote_ipv4 = bpf_ntohl(t->tunnel_remote);
	return t->tunnel_result;
}

static __always_inline void do_change_type(struct __sk_buff *skb, __u32 type)
{
	struct probe *t = probe();

	if (t)
		t->set_packet_type = 1 + type;
	bpf_skb_change_type(skb, type);
}

static __always_inline __u64 now_jiffies(void)
{
	struct probe *t = probe();

	return t ? t->jiffies : 0;
}

/* An LRU map never refuses an entry on its own. */
static __always_inline long do_ct_insert(void *map, void *key, void *entry)
{
	struct probe *t = probe();

	if (t && t->ct_create_result)
		return t->ct_create_result;
	return bpf_map_update_elem(map, key, entry, BPF_ANY);
}

static __always_inline __u64 now_ns(void)
{
	struct probe *t = probe();

	return t && t->now_ns ? t->now_ns : bpf_ktime_get_ns();
}

#else

static __always_inline int do_redirect(__u32 ifindex)
{
	return bpf_redirect(ifindex, 0);
}

static __always_inline int do_redirect_peer(__u32 ifindex)
{
	return bpf_redirect_peer(ifindex, 0);
}

static __always_inline int do_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *neigh)
{
	return bpf_redirect_neigh(ifindex, neigh, sizeof(*neigh), 0);
}

/* Without the neighbour, which bpf_redirect_neigh looks up itself. Kernels before 6.3 refuse the flag. */
static __always_inline int do_fib_lookup(struct __sk_buff *skb, struct bpf_fib_lookup *fib)
{
	int ret = bpf_fib_lookup(skb, fib, sizeof(*fib), BPF_FIB_LOOKUP_SKIP_NEIGH);

	return ret == -EINVAL ? bpf_fib_lookup(skb, fib, sizeof(*fib), 0) : ret;
}

static __always_inline int do_set_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key)
{
	return bpf_skb_set_tunnel_key(skb, key, TUNNEL_KEY_SIZE, BPF_F_ZERO_CSUM_TX);
}

static __always_inline int do_get_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key)
{
	return bpf_skb_get_tunnel_key(skb, key, TUNNEL_KEY_SIZE, 0);
}

static __always_inline void do_change_type(struct __sk_buff *skb, __u32 type)
{
	bpf_skb_change_type(skb, type);
}

/* Read in place, without a call. */
static __always_inline __u64 now_jiffies(void)
{
	return bpf_jiffies64();
}

static __always_inline long do_ct_insert(void *map, void *key, void *entry)
{
	return bpf_map_update_elem(map, key, entry, BPF_ANY);
}

static __always_inline __u64 now_ns(void)
{
	return bpf_ktime_get_coarse_ns(); /* of the last tick: seconds are what is asked for */
}

#endif

static __always_inline __u32 now_seconds(void)
{
	return (__u32)(now_ns() / 1000000000ULL);
}
