/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Towards another node or the world without the tunnel: the kernel's routes and neighbours, not its stack. */
#pragma once

#include "deliver4.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_FIB

/* The stack knows what to do with what has no route, is too long or is not unicast (it answers with ICMP). */
static __always_inline int to_stack(struct __sk_buff *skb, struct packet *p, enum trace_point point)
{
	count_forwarded(skb, METRIC_EGRESS);
	trace_to(skb, p, point);
	return TC_ACT_OK;
}

/* What a route's MTU has to have room for: of a packet that the device will cut, one of its segments. */
static __always_inline __u16 segment_len(const struct __sk_buff *skb, const struct packet *p)
{
	__u32 len = skb->gso_size ? p->l4_off - ETH_HLEN + p->l4_len + skb->gso_size : skb->len - ETH_HLEN;

	return len > 0xffff ? 0xffff : len;
}

/*
 * A route is asked for once in a while, not for every packet: the lookup costs more than everything else a packet of a
 * known connection meets. For that long a flow stays on a route that is gone: 16 ms (1000 Hz) to 160 ms (100 Hz). A
 * slot belongs to one flow, so that flows spread over several next hops as the kernel spreads them.
 */
#define ROUTE_JIFFIES 16

static __always_inline struct ipv4_route *route_slot(const ipv4_ct_tuple_aligned *flow)
{
	__u32 hash = flow->saddr ^ flow->daddr ^ ((__u32)flow->sport << 16 | flow->dport);
	__u32 slot = (hash * 0x9e3779b1u) >> 22;

	return bpf_map_lookup_elem(&cilium_routes_v4, &slot);
}
_Static_assert(ROUTE_SLOTS == 1 << (32 - 22), "a slot is the hash's upper bits");

static __always_inline bool same_flow(const ipv4_ct_tuple_aligned *a, const ipv4_ct_tuple_aligned *b)
{
	return a->saddr == b->saddr && a->daddr == b->daddr && a->sport == b->sport && a->dport == b->dport &&
	       a->nexthdr == b->nexthdr;
}

static __always_inline bool route_holds(const struct ipv4_route *route, const struct packet *p, __u16 len)
{
	return route->seen && now_jiffies() - route->seen < ROUTE_JIFFIES && len <= route->len &&
	       same_flow(&route->flow, &p->tuple);
}

struct next_hop {
	struct bpf_redir_neigh neigh;
	__u32 ifindex;
};

/* Whether there is one that needs no look of the stack. Remembered in `route`, unless it is an IPv6 one. */
static __noinline __maybe_unused bool fib_find(struct __sk_buff *skb, struct packet *p, struct next_hop *hop,
					       struct ipv4_route *route)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = p->tuple.nexthdr,
		.sport = p->tuple.sport,
		.dport = p->tuple.dport,
		.tot_len = segment_len(skb, p),
		.ifindex = skb->ifindex,
		.ipv4_src = p->tuple.saddr,
		.ipv4_dst = p->tuple.daddr,
	};
	__u16 len = fib.tot_len; /* the lookup writes the route's MTU there */
	long ret = do_fib_lookup(skb, &fib);

	if (ret != BPF_FIB_LKUP_RET_SUCCESS && ret != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	hop->ifindex = fib.ifindex;
	if (fib.family != AF_INET) {
		hop->neigh.nh_family = fib.family;
		__builtin_memcpy(hop->neigh.ipv6_nh, fib.ipv6_dst, sizeof(hop->neigh.ipv6_nh));
		return true;
	}
	hop->neigh.ipv4_nh = fib.ipv4_dst;
	if (route) {
		route->flow = p->tuple;
		route->len = len;
		route->nexthop = fib.ipv4_dst;
		route->ifindex = fib.ifindex;
		route->seen = now_jiffies();
	}
	return true;
}

/*
 * The neighbour is always left to bpf_redirect_neigh: addresses from the FIB lookup would never be probed again and
 * go stale when a next hop changes its MAC.
 */
static __noinline __maybe_unused int fib_redirect4(struct __sk_buff *skb, struct packet *p, tuple_t *tuple)
{
	struct next_hop hop = {.neigh.nh_family = AF_INET};
	struct ipv4_route *route = route_slot(tuple);
	struct ipv4_header *ip;
	int ret;

	if (route && route_holds(route, p, segment_len(skb, p))) {
		hop.neigh.ipv4_nh = route->nexthop;
		hop.ifindex = route->ifindex;
	} else if (!fib_find(skb, p, &hop, route)) {
		return to_stack(skb, p, TRACE_TO_STACK);
	}
	ret = check_ttl(p);
	if (ret < 0)
		return ret;
	ip = header_of4(skb);
	if (!ip)
		return DROP(p, DROP_INVALID);
	make_hop4(ip);
	count_forwarded(skb, METRIC_EGRESS);
	trace_to(skb, p, TRACE_TO_NETWORK);
	return do_redirect_neigh(hop.ifindex, &hop.neigh);
}
