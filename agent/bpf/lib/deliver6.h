/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 towards an endpoint of this node: as deliver.h. */
#pragma once

#include "ct6.h"
#include "deliver.h"
#include "nd6.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_DELIVER6

static __always_inline int deliver6_policy(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple)
{
	int ret = ct6_lookup(skb, p, tuple);

	if (ret < 0)
		return ret;
	if (p->ct == CT_REPLY || p->ct == CT_RELATED)
		return 0;
	ret = policy_verdict(skb, p, p->src_id);
	if (ret < 0)
		return ret;
	return p->ct == CT_NEW ? ct6_create(skb, p, tuple) : 0;
}

static __noinline __maybe_unused int deliver6(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple,
					      const struct endpoint_info *endpoint, enum delivery how)
{
	struct eth_header *eth;
	struct ipv6_header *ip;
	int ret;

	p->dir = METRIC_INGRESS;
	p->endpoint_id = endpoint->lxc_id;
	p->dst_endpoint = endpoint->lxc_id;
	p->dst_id = endpoint->sec_id;
	/* Routers and neighbours of a pod are this node's programs: whoever else says so is not heard. */
	if (tuple->nexthdr == IPPROTO_ICMPV6 && is_nd(p->icmp_type))
		return DROP(p, DROP_FORBIDDEN_ICMP6);
	if (how == DELIVER_FORWARD) {
		ret = check_ttl(p);
		if (ret < 0)
			return ret;
	}
	ret = deliver6_policy(skb, p, tuple);
	if (ret < 0)
		return ret;
	ip = ipv6_of(skb);
	if (!ip)
		return DROP(p, DROP_INVALID);
	eth = eth_of6(ip);
	copy_mac(eth->dst, endpoint->mac);
	copy_mac(eth->src, endpoint->node_mac);
	if (how == DELIVER_FORWARD)
		ip->hop_limit--;
	skb->mark = 0; /* what it meant was for this node only */
	count_forwarded(skb, METRIC_INGRESS);
	trace_to(skb, p, TRACE_TO_ENDPOINT);
	if (how == DELIVER_FROM_HOST)
		return do_redirect(endpoint->ifindex);
	return do_redirect_peer(endpoint->ifindex);
}
