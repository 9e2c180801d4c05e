/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_DELIVER_FAMILY
/* Towards an endpoint of this node, in one family: see deliver.h. Included by deliver4.h and deliver6.h. */

/*
 * The endpoint's policy, and its entry for the connection that was looked up. `peer`: who is on the other side, with PEER_REMOTE where
 * that is beyond this node. What was allowed under the present epoch is allowed.
 */
static __always_inline int FN(admit)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, __u32 peer)
{
	int ret;

	if (p->ct == CT_REPLY || p->ct == CT_RELATED || ct_is_judged(p, peer))
		return 0;
	ret = policy_verdict(skb, p, peer & ~PEER_REMOTE);
	if (ret < 0)
		return ret;
	if (p->ct == CT_NEW)
		return FN(ct_create)(skb, p, tuple, peer);
	ct_judge(p, peer);
	return 0;
}

static FAMILY_CALL int FN(deliver)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, const struct endpoint_info *endpoint,
				   enum delivery how)
{
	header_t *ip;
	int ret;

	p->dir = METRIC_INGRESS;
	p->endpoint_id = endpoint->lxc_id;
	p->dst_endpoint = endpoint->lxc_id;
	p->dst_id = endpoint->sec_id;
#if FAMILY == 6
	/* Routers and neighbours of a pod are this node's programs: whoever else says so is not heard. */
	if (tuple->nexthdr == IPPROTO_ICMPV6 && is_nd(p->icmp_type))
		return DROP(p, DROP_FORBIDDEN_ICMP6);
#endif
	if (how != DELIVER_FROM_HOST) {
		ret = check_ttl(p);
		if (ret < 0)
			return ret;
	}
	if (how != DELIVER_FROM_WIRE) {
		ret = FN(ct_lookup)(skb, p, tuple);
		if (ret < 0)
			return ret;
	}
	ct_count(skb, p);
	ret = FN(admit)(skb, p, tuple, how == DELIVER_FROM_WIRE ? p->src_id | PEER_REMOTE : p->src_id);
	if (ret < 0)
		return ret;
	ip = FN(header_of)(skb);
	if (!ip)
		return DROP(p, DROP_INVALID);
	copy_mac(eth_of(ip)->dst, endpoint->mac);
	copy_mac(eth_of(ip)->src, endpoint->node_mac);
	if (how != DELIVER_FROM_HOST)
		FN(make_hop)(ip);
	skb->mark = 0; /* what it meant was for this node only */
	count_forwarded(skb, METRIC_INGRESS);
	trace_to(skb, p, TRACE_TO_ENDPOINT);
	if (how == DELIVER_FROM_HOST)
		return do_redirect(endpoint->ifindex);
	return do_redirect_peer(endpoint->ifindex);
}
