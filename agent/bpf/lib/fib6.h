/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 towards another node or the world without the tunnel: as fib.h. */
#pragma once

#include "deliver6.h"
#include "fib.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_FIB6

static __noinline __maybe_unused int fib_redirect6(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple)
{
	struct bpf_redir_neigh neigh = {.nh_family = AF_INET6};
	struct bpf_fib_lookup fib __attribute__((aligned(8))) = {
		.family = AF_INET6,
		.l4_protocol = p->tuple.nexthdr,
		.sport = p->tuple.sport,
		.dport = p->tuple.dport,
		.tot_len = segment_len(skb, p),
		.ifindex = skb->ifindex,
	};
	struct ipv6_header *ip;
	long ret;

	__builtin_memcpy(fib.ipv6_src, &tuple->saddr, sizeof(fib.ipv6_src));
	__builtin_memcpy(fib.ipv6_dst, &tuple->daddr, sizeof(fib.ipv6_dst));
	ret = do_fib_lookup(skb, &fib);
	if (ret != BPF_FIB_LKUP_RET_SUCCESS && ret != BPF_FIB_LKUP_RET_NO_NEIGH)
		return to_stack(skb, p, TRACE_TO_STACK);
	__builtin_memcpy(neigh.ipv6_nh, fib.ipv6_dst, sizeof(neigh.ipv6_nh));
	ret = check_ttl(p);
	if (ret < 0)
		return ret;
	ip = header_of6(skb);
	if (!ip)
		return DROP(p, DROP_INVALID);
	ip->hop_limit--;
	count_forwarded(skb, METRIC_EGRESS);
	trace_to(skb, p, TRACE_TO_NETWORK);
	return do_redirect_neigh(fib.ifindex, &neigh);
}
