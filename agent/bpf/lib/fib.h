/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Towards another node or the world without the tunnel: the kernel's routes and neighbours, not its stack. */
#pragma once

#include "deliver.h"

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
 * The neighbour is always left to bpf_redirect_neigh: addresses from the FIB lookup would never be probed again and
 * go stale when a next hop changes its MAC.
 */
static __noinline __maybe_unused int fib_redirect(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_redir_neigh neigh = {.nh_family = AF_INET};
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
	struct ipv4_header *ip;
	long ret = do_fib_lookup(skb, &fib);

	if (ret != BPF_FIB_LKUP_RET_SUCCESS && ret != BPF_FIB_LKUP_RET_NO_NEIGH)
		return to_stack(skb, p, TRACE_TO_STACK);
	if (fib.family == AF_INET) {
		neigh.ipv4_nh = fib.ipv4_dst;
	} else {
		neigh.nh_family = fib.family;
		__builtin_memcpy(neigh.ipv6_nh, fib.ipv6_dst, sizeof(neigh.ipv6_nh));
	}
	ret = check_ttl(p);
	if (ret < 0)
		return ret;
	ip = ipv4_of(skb);
	if (!ip)
		return DROP(p, DROP_INVALID);
	decrement_ttl(ip);
	count_forwarded(skb, METRIC_EGRESS);
	trace_to(skb, p, TRACE_TO_NETWORK);
	return do_redirect_neigh(fib.ifindex, &neigh);
}
