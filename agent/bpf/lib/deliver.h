/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Towards an endpoint of this node: its ingress policy, its own connection entry, its MAC, its veth. */
#pragma once

#include "ct.h"
#include "policy.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_DELIVER

/* Sum of the header stays right: the TTL is the high byte of its 16-bit word. */
static __always_inline void decrement_ttl(struct ipv4_header *ip)
{
	__u32 check = ip->check;

	check += bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
}

static __always_inline int check_ttl(struct packet *p)
{
	return p->ttl <= 1 ? DROP(p, DROP_TTL_EXCEEDED) : 0;
}

enum delivery {
	DELIVER_FORWARD,   /* seen at tc ingress: the packet makes a hop, and may go straight into the pod */
	DELIVER_FROM_HOST, /* seen at tc egress of cilium_host: the stack counted the hop, the veth must be crossed */
};

static __always_inline int deliver_policy(struct __sk_buff *skb, struct packet *p)
{
	int ret = ct_lookup(skb, p);

	if (ret < 0)
		return ret;
	if (p->ct == CT_REPLY || p->ct == CT_RELATED)
		return 0;
	ret = policy_verdict(skb, p, p->src_id);
	if (ret < 0)
		return ret;
	return p->ct == CT_NEW ? ct_create(skb, p) : 0;
}

static __always_inline int deliver(struct __sk_buff *skb, struct packet *p, const struct endpoint_info *endpoint,
				   enum delivery how)
{
	struct eth_header *eth;
	struct ipv4_header *ip;
	int ret;

	p->dir = METRIC_INGRESS;
	p->endpoint_id = endpoint->lxc_id;
	p->dst_endpoint = endpoint->lxc_id;
	p->dst_id = endpoint->sec_id;
	if (how == DELIVER_FORWARD) {
		ret = check_ttl(p);
		if (ret < 0)
			return ret;
	}
	ret = deliver_policy(skb, p);
	if (ret < 0)
		return ret;
	ip = ipv4_of(skb);
	if (!ip)
		return DROP(p, DROP_INVALID);
	eth = eth_of(ip);
	copy_mac(eth->dst, endpoint->mac);
	copy_mac(eth->src, endpoint->node_mac);
	if (how == DELIVER_FORWARD)
		decrement_ttl(ip);
	skb->mark = 0; /* what it meant was for this node only */
	count_forwarded(skb, METRIC_INGRESS);
	trace_to(skb, p, TRACE_TO_ENDPOINT);
	if (how == DELIVER_FROM_HOST)
		return do_redirect(endpoint->ifindex);
	return do_redirect_peer(endpoint->ifindex);
}
